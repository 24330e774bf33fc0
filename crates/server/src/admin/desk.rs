//! What every command needs: the way to what it changes, who changes it, and how it is printed.

use crate::config;
use crate::output::{self, Format, Rows};
use anyhow::{Context as _, bail};
use portolan_pg::Router;
use portolan_registry::Error;
use portolan_registry::identity::{Actor, Identity};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::fmt::{self, Display};
use std::io::{self, IsTerminal as _, Write as _};
use std::time::SystemTime;

/// Rows fetched at a time.
pub(super) const PAGE: usize = 1_000;

/// Where a command is carried out.
#[derive(Debug)]
pub(super) struct Desk {
    /// The way to what it changes.
    pub(super) identity: Identity,
    /// Who changes it.
    pub(super) actor: Actor,
    pub(super) format: Format,
}

impl Desk {
    /// Over this database, for whoever runs this process.
    pub(super) fn new(router: &Router, format: Format) -> Self {
        Self {
            identity: Identity::new(router.clone()),
            actor: Actor::command_line(config::operator()),
            format,
        }
    }

    /// Says what was done.
    pub(super) fn done(&self, what: impl Into<String>) -> anyhow::Result<()> {
        self.show(&Done {
            done: what.into(),
            password: None,
        })
    }

    /// Says what was done, and a password that nobody knows yet.
    pub(super) fn done_with(
        &self,
        what: String,
        password: Option<&SecretString>,
    ) -> anyhow::Result<()> {
        self.show(&Done {
            done: what,
            password: password.map(|password| password.expose_secret().to_owned()),
        })
    }

    /// Prints one thing.
    pub(super) fn show(&self, found: &(impl Serialize + Display)) -> anyhow::Result<()> {
        output::print(found, self.format).context("cannot print")
    }

    /// Prints a list that is there as a whole.
    pub(super) fn list<V>(&self, rows: impl IntoIterator<Item = V>) -> anyhow::Result<()>
    where
        V: Serialize + Display,
    {
        let mut printed = Rows::begin(self.format)?;
        for row in rows {
            printed.push(&row)?;
        }
        Ok(printed.end()?)
    }

    /// Prints a list page after page. `fetch` has the rows after the given one, no more than [`PAGE`].
    pub(super) async fn pages<T, V>(
        &self,
        mut fetch: impl AsyncFnMut(Option<&T>) -> Result<Vec<T>, Error>,
        view: impl Fn(&T) -> V,
    ) -> anyhow::Result<()>
    where
        V: Serialize + Display,
    {
        // Whatever is wrong with what was asked for is said before anything is printed.
        let mut page = fetch(None).await?;
        let mut printed = Rows::begin(self.format)?;
        loop {
            for row in &page {
                printed.push(&view(row))?;
            }
            match page.get(PAGE - 1) {
                Some(last) => page = fetch(Some(last)).await?,
                None => return Ok(printed.end()?),
            }
        }
    }
}

/// What a change prints.
#[derive(Debug, Serialize)]
struct Done {
    done: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

impl Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.done)?;
        match &self.password {
            Some(password) => writeln!(f, "password: {password}"),
            None => Ok(()),
        }
    }
}

/// A row that is a line for people, and an object for programs.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) line: String,
    pub(super) object: Value,
}

impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.line)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

/// `--yes`
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Confirmation {
    /// Do not ask. Nobody is asked, either, where standard input is no terminal.
    #[arg(long)]
    yes: bool,
}

impl Confirmation {
    /// Asks whoever is at the terminal, if anybody is.
    ///
    /// # Errors
    /// He does not want it.
    pub(super) fn ask(self, question: &str) -> anyhow::Result<()> {
        if self.yes || !io::stdin().is_terminal() {
            return Ok(());
        }
        let mut err = io::stderr();
        write!(err, "{question} [y/N] ")?;
        err.flush()?;
        let mut answer = String::new();
        io::stdin()
            .read_line(&mut answer)
            .context("cannot read the answer")?;
        if matches!(answer.trim(), "y" | "Y" | "yes") {
            Ok(())
        } else {
            bail!("nothing was changed")
        }
    }
}

/// A time as HTTP writes it.
pub(super) fn time(at: SystemTime) -> String {
    httpdate::fmt_http_date(at)
}

//! `portolan read-only`: switches the mode of all processes, straight in the database.
//!
//! `on` ends when every process obeys: each write transaction asks the switch, so those that begin after it was
//! committed are refused, and those that were open then are waited for. They can end well, which nobody can tell
//! from having ended before.

use crate::admin::with_database;
use crate::config;
use crate::output::{self, Format};
use anyhow::{Context as _, bail};
use portolan_metadata::audit::{self, Actor, Change};
use portolan_metadata::read_only::{self, ReadOnly};
use portolan_metadata::sessions::{self, OpenTransaction};
use portolan_pg::{Router, Tx};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// What to do about the mode.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Refuse every push, delete and other change, in all processes; pulls and logins go on. Ends when all of them obey.
    On {
        /// What clients are told, such as why and until when.
        #[arg(long, value_name = "TEXT", value_parser = message)]
        message: Option<String>,
        /// How many seconds to wait for changes that are under way. The longest that a request may take for one statement is 5.
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        wait: u64,
    },
    /// Take changes again.
    Off,
    /// Say whether the mode is on, since when, and what clients are told.
    Status {
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
}

/// Longest message: it travels with every refused request.
const MESSAGE_MAX: usize = 500;
/// How often the open transactions are looked at; they last milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often somebody who waits is told for what.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Runs one task.
pub(crate) async fn run(task: Task, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    with_database(file, async |router| match task {
        Task::On { message, wait } => {
            on(router, message.as_deref(), Duration::from_secs(wait)).await
        }
        Task::Off => off(router).await,
        Task::Status { output } => status(router, output).await,
    })
    .await
}

/// A message that fits a line of a terminal and an answer.
fn message(text: &str) -> Result<String, String> {
    if text.len() > MESSAGE_MAX {
        return Err(format!("must not be longer than {MESSAGE_MAX} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("must be one line".to_owned());
    }
    Ok(text.to_owned())
}

async fn on(router: &Router, message: Option<&str>, wait: Duration) -> anyhow::Result<()> {
    let tx = router.begin().await?;
    read_only::switch_on(&tx, message).await?;
    told(&tx, json!({ "to": "on", "message": message })).await?;
    // Only writers ask, and they ask the primary: no barrier.
    let _committed = tx.commit().await?;
    until_obeyed(router, wait).await?;
    writeln!(
        io::stdout(),
        "read-only mode is on: every process refuses changes"
    )?;
    Ok(())
}

/// Writes the switch into the audit log.
async fn told(tx: &Tx, detail: Value) -> anyhow::Result<()> {
    let actor = Actor::command_line(config::operator());
    let change = Change::of("registry.read_only", "registry").with(detail);
    Ok(audit::record(tx, &actor, &change).await?)
}

/// Waits until every transaction that is open now has ended.
async fn until_obeyed(router: &Router, wait: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut open = sessions::open_transactions(&router.read_primary().await?).await?;
    let mut said: Option<Instant> = None;
    while !open.is_empty() {
        if began.elapsed() >= wait {
            bail!(
                "read-only mode is on, but {} that began before may still change something: {}; \
                 end them, or run this again to go on waiting",
                count(&open),
                list(&open)
            );
        }
        if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            said = Some(Instant::now());
            writeln!(
                io::stderr(),
                "waiting for {} that began before: {}",
                count(&open),
                list(&open)
            )?;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let now = sessions::open_transactions(&router.read_primary().await?).await?;
        open.retain(|old| now.iter().any(|still| still.is(old)));
    }
    Ok(())
}

fn count(open: &[OpenTransaction]) -> String {
    match open.len() {
        1 => "1 transaction".to_owned(),
        several => format!("{several} transactions"),
    }
}

/// Most transactions that are named: a terminal's width or two.
const NAMED: usize = 5;

fn list(open: &[OpenTransaction]) -> String {
    let name = |one: &OpenTransaction| {
        let age = one
            .age
            .map(|age| format!(" for {} s", age.as_secs()))
            .unwrap_or_default();
        format!("`{}`, process {}{age}", one.application, one.backend)
    };
    let named: Vec<String> = open.iter().take(NAMED).map(name).collect();
    named.join("; ")
}

async fn off(router: &Router) -> anyhow::Result<()> {
    let before = read_only::current(&router.read_primary().await?).await?;
    let tx = router.begin().await?;
    read_only::switch_off(&tx).await?;
    if before.is_some() {
        told(&tx, json!({ "to": "off" })).await?;
    }
    let _committed = tx.commit().await?;
    let line = match before {
        Some(_) => "read-only mode is off: changes are taken",
        None => "read-only mode was off already",
    };
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}

async fn status(router: &Router, format: Format) -> anyhow::Result<()> {
    let current = read_only::current(&router.read_primary().await?).await?;
    output::print(&Standing::from(current), format).context("cannot print")
}

/// The mode, as it is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Standing {
    /// Whether changes are refused.
    pub(crate) read_only: bool,
    /// Since when, as HTTP writes times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    /// What clients are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

impl From<Option<ReadOnly>> for Standing {
    fn from(current: Option<ReadOnly>) -> Self {
        let since = |mode: &ReadOnly| time(mode.since);
        Self {
            read_only: current.is_some(),
            since: current.as_ref().map(since),
            message: current.and_then(|mode| mode.message),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(since) = &self.since else {
            return writeln!(formatter, "off");
        };
        writeln!(formatter, "on since {since}")?;
        match &self.message {
            Some(message) => writeln!(formatter, "message: {message}"),
            None => Ok(()),
        }
    }
}

fn time(at: SystemTime) -> String {
    httpdate::fmt_http_date(at)
}

//! `portolan admin token`.

use super::desk::{Desk, PAGE, time};
use super::robot::{Made, in_future};
use super::words::user;
use crate::config;
use crate::wire;
use clap::ValueEnum;
use portolan_metadata::accounts::AccountName;
use portolan_metadata::{CredentialId, Role};
use portolan_registry::identity::{TokenRow, TokenToMake};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// What to do with application tokens.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Print the application tokens of a user.
    List {
        /// Whose.
        #[arg(value_parser = user)]
        user: AccountName,
    },
    /// Make an application token, and print it; it cannot be seen again. It is shown in the place of the password, with
    /// the user's name or `$token`.
    Create {
        /// For whom.
        #[arg(value_parser = user)]
        user: AccountName,
        /// What its owner will know it by.
        #[arg(long, value_name = "TEXT", value_parser = title, default_value = "")]
        title: String,
        /// It stops working after so long, such as `90d`.
        #[arg(long, value_name = "DURATION", value_parser = config::duration)]
        expires_in: Option<Duration>,
        /// What it may do at most, whatever the user may.
        #[arg(long, value_enum)]
        max_role: Option<Choice>,
    },
    /// Delete an application token. What was given for it ends at once.
    Delete {
        /// Whose.
        #[arg(value_parser = user)]
        user: AccountName,
        /// Its number, as `list` prints it.
        id: i64,
    },
}

/// The most that is reached.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Choice {
    /// Pull.
    Read,
    /// Push and delete too.
    Write,
    /// Change who may, too.
    Admin,
}

impl Choice {
    fn role(self) -> Role {
        match self {
            Self::Read => Role::Read,
            Self::Write => Role::Write,
            Self::Admin => Role::Admin,
        }
    }
}

/// One line of a list.
fn title(text: &str) -> Result<String, String> {
    /// As the column has it.
    const MAX: usize = 255;
    if text.len() > MAX || text.chars().any(char::is_control) {
        return Err(format!("must be one line of at most {MAX} bytes"));
    }
    Ok(text.to_owned())
}

/// Runs one task.
pub(super) async fn run(desk: &Desk, task: Task) -> anyhow::Result<()> {
    let (identity, actor) = (&desk.identity, &desk.actor);
    match task {
        Task::List { user } => {
            let fetch = async |last: Option<&TokenRow>| {
                let last = last.map(|row| row.id);
                identity.tokens(&user, last, PAGE).await
            };
            desk.pages(fetch, |row| Token::from(row)).await
        }
        Task::Create {
            user,
            title,
            expires_in,
            max_role,
        } => {
            let token = TokenToMake {
                title,
                expires_at: expires_in.map(in_future).transpose()?,
                max_role: max_role.map(Choice::role),
            };
            let mut random = wire::random()?;
            let (id, secret) = identity
                .create_token(actor, &user, token, &mut random)
                .await?;
            let what = format!("made token {id} of `{user}`");
            desk.show(&Made::new(what, Some(id.get()), &secret))
        }
        Task::Delete { user, id } => {
            identity
                .delete_token(actor, &user, CredentialId::from(id))
                .await?;
            desk.done(format!(
                "deleted token {id} of `{user}`; what it gave has ended"
            ))
        }
    }
}

/// A token in a list.
#[derive(Debug, Serialize)]
struct Token {
    id: i64,
    title: String,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    max_role: Option<&'static str>,
}

impl From<&TokenRow> for Token {
    fn from(row: &TokenRow) -> Self {
        Self {
            id: row.id.get(),
            title: row.title.clone(),
            created_at: time(row.created_at),
            expires_at: row.expires_at.map(time),
            last_used_at: row.last_used_at.map(time),
            max_role: row.max_role.map(Role::as_str),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_never = |time: &Option<String>| time.clone().unwrap_or_else(|| "never".to_owned());
        write!(
            f,
            "{}\t{}\texpires {}\tused {}\t{}",
            self.id,
            self.max_role.unwrap_or("all"),
            or_never(&self.expires_at),
            or_never(&self.last_used_at),
            self.title
        )
    }
}

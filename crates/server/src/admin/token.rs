//! `portolan admin token`.

use super::desk::{Desk, PAGE, time};
use super::robot::in_future;
use crate::config;
use crate::wire;
use clap::ValueEnum;
use portolan_metadata::accounts::AccountName;
use portolan_metadata::{CredentialId, Role};
use portolan_registry::identity::{TokenRow, TokenToMake};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// What to do with application tokens.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Print the application tokens of a user.
    List {
        /// Whose.
        user: AccountName,
    },
    /// Make an application token, and print it; it cannot be seen again. It is shown in the place of the password, with
    /// the user's name or `$token`.
    Create {
        /// For whom.
        user: AccountName,
        /// What its owner will know it by.
        #[arg(long, default_value = "")]
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

/// Runs one task.
pub(super) async fn run(desk: &Desk, task: Task) -> anyhow::Result<()> {
    let (identity, actor) = (&desk.identity, &desk.actor);
    match task {
        Task::List { user } => list(desk, &user).await,
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
            let (id, secret) = identity
                .create_token(actor, &user, token, &mut wire::random()?)
                .await?;
            let done = Done {
                user: user.to_string(),
                id: id.get(),
                done: "made",
                secret: Some(secret.text().expose_secret().to_owned()),
            };
            desk.show(&done)
        }
        Task::Delete { user, id } => {
            identity
                .delete_token(actor, &user, CredentialId::from(id))
                .await?;
            let done = Done {
                user: user.to_string(),
                id,
                done: "deleted",
                secret: None,
            };
            desk.show(&done)
        }
    }
}

/// What was done.
#[derive(Serialize)]
struct Done {
    user: String,
    id: i64,
    done: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} token {} of `{}`", self.done, self.id, self.user)?;
        match &self.secret {
            Some(secret) => writeln!(f, "secret: {secret}"),
            None => Ok(()),
        }
    }
}

async fn list(desk: &Desk, user: &AccountName) -> anyhow::Result<()> {
    let fetch = async |last: Option<&TokenRow>| {
        let last = last.map(|row| row.id);
        desk.identity.tokens(user, last, PAGE).await
    };
    desk.pages(fetch, Shown::of).await
}

/// A token, as it is printed.
#[derive(Serialize)]
struct Shown {
    id: i64,
    title: String,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    max_role: Option<&'static str>,
}

impl Shown {
    fn of(row: &TokenRow) -> Self {
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

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |time: &Option<String>, none: &str| time.clone().unwrap_or_else(|| none.into());
        writeln!(
            f,
            "{}\t{}\texpires {}\tused {}\t{}",
            self.id,
            self.max_role.unwrap_or("all"),
            or(&self.expires_at, "never"),
            or(&self.last_used_at, "never"),
            self.title
        )
    }
}

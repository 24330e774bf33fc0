//! `portolan admin org`.

use super::desk::{Confirmation, Desk, PAGE, time};
use super::user::{chosen, question};
use super::words::{description, user};
use anyhow::anyhow;
use portolan_metadata::accounts::{AccountKind, AccountName, AccountRow};
use serde::Serialize;
use std::fmt;

/// What to do with an organization.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Print every organization.
    List,
    /// Print what is known of an organization.
    Show {
        /// Which.
        #[arg(value_parser = user)]
        name: AccountName,
    },
    /// Make an organization, and the namespace of the same name.
    Create {
        /// Its name: lower-case letters and digits, with single `.`, `_` or dashes between them.
        #[arg(value_parser = user)]
        name: AccountName,
        /// What to say about it.
        #[arg(long, value_name = "TEXT", value_parser = description, default_value = "")]
        description: String,
    },
    /// Set what is said about an organization.
    Describe {
        /// Which.
        #[arg(value_parser = user)]
        name: AccountName,
        /// What to say about it.
        #[arg(value_parser = description)]
        description: String,
    },
    /// Delete an organization with its teams and robots; its name is free.
    Delete {
        /// Which.
        #[arg(value_parser = user)]
        name: AccountName,
        /// Delete what is in its namespace as well; without this an organization that has repositories stays.
        #[arg(long)]
        with_repositories: bool,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

/// Runs one task.
pub(super) async fn run(desk: &Desk, task: Task) -> anyhow::Result<()> {
    let (identity, actor) = (&desk.identity, &desk.actor);
    match task {
        Task::List => {
            let fetch = async |last: Option<&AccountRow>| {
                let last = last.map(|row| &row.name);
                identity
                    .accounts(AccountKind::Organization, last, PAGE)
                    .await
            };
            desk.pages(fetch, |row| Organization::from(row)).await
        }
        Task::Show { name } => {
            let found = identity.account(&name).await?;
            let row = found
                .filter(|row| row.kind == AccountKind::Organization)
                .ok_or_else(|| anyhow!("there is no organization `{name}`"))?;
            let mode = identity.namespace(&name).await?.mode.as_str();
            desk.show(&Detail {
                organization: Organization::from(&row),
                mode,
                created_at: time(row.created_at),
            })
        }
        Task::Create { name, description } => {
            let made = identity
                .create_organization(actor, &name, &description)
                .await;
            made.map_err(|error| {
                anyhow::Error::new(error).context(format!("cannot make organization `{name}`"))
            })?;
            desk.done(format!("made organization `{name}`"))
        }
        Task::Describe { name, description } => {
            identity
                .describe_organization(actor, &name, &description)
                .await?;
            desk.done(format!("described organization `{name}`"))
        }
        Task::Delete {
            name,
            with_repositories,
            confirmation,
        } => {
            confirmation.ask(&question("organization", &name, with_repositories))?;
            let repositories = chosen(with_repositories);
            let gone = identity
                .delete_organization(actor, &name, repositories)
                .await?;
            desk.done(format!(
                "deleted organization `{name}`, {} repositories, {} teams and {} robots",
                gone.repositories, gone.teams, gone.robots
            ))
        }
    }
}

/// An organization in a list.
#[derive(Debug, Serialize)]
struct Organization {
    name: String,
    description: String,
}

impl From<&AccountRow> for Organization {
    fn from(row: &AccountRow) -> Self {
        Self {
            name: row.name.to_string(),
            description: row.description.clone(),
        }
    }
}

impl fmt::Display for Organization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A description may have lines, and a row is one.
        let line = self.description.lines().next().unwrap_or_default();
        write!(f, "{}\t{line}", self.name)
    }
}

/// An organization by itself.
#[derive(Debug, Serialize)]
struct Detail {
    #[serde(flatten)]
    organization: Organization,
    mode: &'static str,
    created_at: String,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "name:        {}", self.organization.name)?;
        writeln!(f, "mode:        {}", self.mode)?;
        writeln!(f, "created:     {}", self.created_at)?;
        writeln!(f, "description: {}", self.organization.description)
    }
}

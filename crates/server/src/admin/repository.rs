//! `portolan admin repository`.

use super::Usage;
use super::desk::{Confirmation, Desk, PAGE, time};
use super::words::{description, user, word};
use clap::ValueEnum;
use portolan_metadata::Visibility;
use portolan_metadata::accounts::AccountName;
use portolan_metadata::repositories::{RepositoryMode, RepositoryRow};
use portolan_oci::RepositoryName;
use serde::Serialize;
use std::fmt;

/// What to do with a repository.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Set who may pull: everybody, or those with a right.
    Visibility {
        /// Which, such as `team/app`.
        name: RepositoryName,
        /// `public` or `private`.
        visibility: Choice,
    },
    /// Print every repository and its visibility.
    List {
        /// Only those of this user or organization.
        #[arg(long, value_name = "NAME", value_parser = user)]
        namespace: Option<AccountName>,
    },
    /// Print what is known of a repository.
    Show {
        /// Which, such as `team/app`.
        name: RepositoryName,
    },
    /// Set whether a repository takes changes.
    Mode {
        /// Which, such as `team/app`.
        name: RepositoryName,
        /// `normal`: from those with the right; `read-only`: from nobody; `mirror`: from one account, if it has the right.
        #[arg(value_name = "normal|read-only|mirror", value_parser = word::<RepositoryMode>)]
        mode: RepositoryMode,
        /// Who writes to a mirror: a user, or a robot of the owner.
        #[arg(long, value_name = "NAME")]
        account: Option<AccountName>,
    },
    /// Set what is said about a repository.
    Describe {
        /// Which, such as `team/app`.
        name: RepositoryName,
        /// What to say about it.
        #[arg(value_parser = description)]
        description: String,
    },
    /// Delete a repository with everything in it; its name is free at once.
    Delete {
        /// Which, such as `team/app`.
        name: RepositoryName,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

/// Who may pull.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Choice {
    /// Everybody, without logging in too.
    Public,
    /// Those with a right.
    Private,
}

impl From<Choice> for Visibility {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Public => Self::Public,
            Choice::Private => Self::Private,
        }
    }
}

/// Runs one task.
pub(super) async fn run(desk: &Desk, task: Task) -> anyhow::Result<()> {
    let (identity, actor) = (&desk.identity, &desk.actor);
    match task {
        Task::Visibility { name, visibility } => {
            let visibility = Visibility::from(visibility);
            identity.set_visibility(actor, &name, visibility).await?;
            desk.done(format!("`{}` is {}", name.as_str(), visibility.as_str()))
        }
        Task::List { namespace } => {
            let fetch = async |last: Option<&RepositoryRow>| {
                let last = last.map(|row| &row.name);
                identity.repositories(namespace.as_ref(), last, PAGE).await
            };
            desk.pages(fetch, |row| Repository::from(row)).await
        }
        Task::Show { name } => {
            let row = identity.repository(&name).await?;
            desk.show(&Detail {
                mirror_account: row.mirror.as_ref().map(ToString::to_string),
                created_at: time(row.created_at),
                repository: Repository::from(&row),
            })
        }
        Task::Mode {
            name,
            mode,
            account,
        } => {
            if account.is_some() && mode != RepositoryMode::Mirror {
                return Err(Usage("`--account` is for mirrors").into());
            }
            identity
                .set_repository_mode(actor, &name, mode, account.as_ref())
                .await?;
            let name = name.as_str();
            desk.done(match (mode, account) {
                (RepositoryMode::Normal, _) => format!("`{name}` takes changes"),
                (RepositoryMode::ReadOnly, _) => format!("`{name}` is read-only"),
                (RepositoryMode::Mirror, Some(account)) => {
                    format!("`{name}` is a mirror that `{account}` writes to")
                }
                (RepositoryMode::Mirror, None) => {
                    format!("`{name}` is a mirror that nobody writes to")
                }
            })
        }
        Task::Describe { name, description } => {
            identity
                .describe_repository(actor, &name, &description)
                .await?;
            desk.done(format!("described `{}`", name.as_str()))
        }
        Task::Delete { name, confirmation } => {
            confirmation.ask(&format!("delete repository `{}`?", name.as_str()))?;
            identity.delete_repository(actor, &name).await?;
            desk.done(format!("deleted `{}`", name.as_str()))
        }
    }
}

/// A repository in a list.
#[derive(Debug, Serialize)]
struct Repository {
    name: String,
    visibility: &'static str,
    mode: &'static str,
    description: String,
}

impl From<&RepositoryRow> for Repository {
    fn from(row: &RepositoryRow) -> Self {
        Self {
            name: row.name.as_str().to_owned(),
            visibility: row.visibility.as_str(),
            mode: row.mode.as_str(),
            description: row.description.clone(),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}", self.visibility, self.name)
    }
}

/// A repository by itself.
#[derive(Debug, Serialize)]
struct Detail {
    #[serde(flatten)]
    repository: Repository,
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror_account: Option<String>,
    created_at: String,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repository {
            name,
            visibility,
            mode,
            description,
        } = &self.repository;
        writeln!(f, "name:        {name}")?;
        writeln!(f, "visibility:  {visibility}")?;
        match &self.mirror_account {
            Some(account) => writeln!(f, "mode:        {mode}, by `{account}`")?,
            None => writeln!(f, "mode:        {mode}")?,
        }
        writeln!(f, "created:     {}", self.created_at)?;
        writeln!(f, "description: {description}")
    }
}

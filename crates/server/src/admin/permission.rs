//! `portolan admin permission`.

use super::desk::Desk;
use super::words::{HolderArgs, kind, word};
use portolan_metadata::permissions::{Granted, PermissionRow};
use portolan_oci::RepositoryName;
use serde::Serialize;
use std::fmt;

/// What to do with rights in a repository.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Print the rights in a repository beyond its owner's.
    List {
        /// Which, such as `team/app`.
        repository: RepositoryName,
    },
    /// Give a right in a repository, in place of the one there is.
    Set {
        /// Which, such as `team/app`.
        repository: RepositoryName,
        /// `read`: pull; `write`: push and delete too; `admin`: change who may, too.
        #[arg(value_name = "read|write|admin", value_parser = word::<Granted>)]
        role: Granted,
        #[command(flatten)]
        holder: HolderArgs,
    },
    /// Take a right in a repository away.
    Remove {
        /// Which, such as `team/app`.
        repository: RepositoryName,
        #[command(flatten)]
        holder: HolderArgs,
    },
}

/// Runs one task.
pub(super) async fn run(desk: &Desk, task: Task) -> anyhow::Result<()> {
    let (identity, actor) = (&desk.identity, &desk.actor);
    match task {
        Task::List { repository } => {
            let rows = identity.permissions(&repository).await?;
            desk.list(rows.iter().map(Permission::from))
        }
        Task::Set {
            repository,
            role,
            holder,
        } => {
            let holder = holder.holder();
            identity
                .set_permission(actor, &repository, &holder, role)
                .await?;
            let name = repository.as_str();
            desk.done(format!("`{holder}` has role `{role}` in `{name}`"))
        }
        Task::Remove { repository, holder } => {
            let holder = holder.holder();
            identity
                .remove_permission(actor, &repository, &holder)
                .await?;
            let name = repository.as_str();
            desk.done(format!("`{holder}` has no right of its own in `{name}`"))
        }
    }
}

/// A right in a list.
#[derive(Debug, Serialize)]
struct Permission {
    holder: String,
    kind: &'static str,
    role: &'static str,
}

impl From<&PermissionRow> for Permission {
    fn from(row: &PermissionRow) -> Self {
        Self {
            holder: row.holder.to_string(),
            kind: kind(&row.holder),
            role: row.role.as_str(),
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}", self.role, self.kind, self.holder)
    }
}

//! `portolan admin default-permission`.

use super::desk::Desk;
use super::words::{HolderArgs, kind, user, word};
use portolan_metadata::accounts::AccountName;
use portolan_metadata::default_permissions::DefaultPermission;
use portolan_metadata::permissions::Granted;
use serde::Serialize;
use std::fmt;

/// What to do with the rights that new repositories give.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Print what new repositories of a namespace give.
    List {
        /// Which.
        #[arg(value_parser = user)]
        namespace: AccountName,
    },
    /// Let new repositories of a namespace give a right. Those that are there stay as they are.
    Add {
        /// Which.
        #[arg(value_parser = user)]
        namespace: AccountName,
        /// `read`: pull; `write`: push and delete too; `admin`: change who may, too.
        #[arg(value_name = "read|write|admin", value_parser = word::<Granted>)]
        role: Granted,
        #[command(flatten)]
        holder: HolderArgs,
        /// Only those that this user or robot makes.
        #[arg(long, value_name = "NAME")]
        creator: Option<AccountName>,
    },
    /// Let them give it no longer.
    Remove {
        /// Which.
        #[arg(value_parser = user)]
        namespace: AccountName,
        #[command(flatten)]
        holder: HolderArgs,
        /// The one that is for what this user or robot makes.
        #[arg(long, value_name = "NAME")]
        creator: Option<AccountName>,
    },
}

/// Runs one task.
pub(super) async fn run(desk: &Desk, task: Task) -> anyhow::Result<()> {
    let (identity, actor) = (&desk.identity, &desk.actor);
    match task {
        Task::List { namespace } => {
            let rows = identity.default_permissions(&namespace).await?;
            desk.list(rows.iter().map(Given::from))
        }
        Task::Add {
            namespace,
            role,
            holder,
            creator,
        } => {
            let new = DefaultPermission {
                creator,
                holder: holder.holder(),
                role,
            };
            identity
                .set_default_permission(actor, &namespace, &new)
                .await?;
            let holder = &new.holder;
            desk.done(format!(
                "new repositories of `{namespace}` give `{holder}` role `{role}`"
            ))
        }
        Task::Remove {
            namespace,
            holder,
            creator,
        } => {
            let holder = holder.holder();
            identity
                .remove_default_permission(actor, &namespace, creator.as_ref(), &holder)
                .await?;
            desk.done(format!(
                "new repositories of `{namespace}` no longer give `{holder}` a role"
            ))
        }
    }
}

/// A default permission in a list.
#[derive(Debug, Serialize)]
struct Given {
    holder: String,
    kind: &'static str,
    role: &'static str,
    creator: Option<String>,
}

impl From<&DefaultPermission> for Given {
    fn from(row: &DefaultPermission) -> Self {
        Self {
            holder: row.holder.to_string(),
            kind: kind(&row.holder),
            role: row.role.as_str(),
            creator: row.creator.as_ref().map(ToString::to_string),
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let creator = self.creator.as_deref().unwrap_or("anybody");
        write!(
            f,
            "{}\t{}\t{}\tmade by {creator}",
            self.role, self.kind, self.holder
        )
    }
}

//! `portolan admin namespace`.

use super::desk::Desk;
use super::words::{user, word};
use portolan_metadata::accounts::AccountName;
use portolan_metadata::namespaces::NamespaceMode;

/// What to do with a namespace.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Set whether anything in a namespace may change.
    Mode {
        /// Which: the name of its user or organization.
        #[arg(value_parser = user)]
        name: AccountName,
        /// `normal`: as each repository says; `read-only`: nobody pushes or deletes, pulls go on.
        #[arg(value_name = "normal|read-only", value_parser = word::<NamespaceMode>)]
        mode: NamespaceMode,
    },
}

/// Runs one task.
pub(super) async fn run(desk: &Desk, task: Task) -> anyhow::Result<()> {
    match task {
        Task::Mode { name, mode } => {
            desk.identity
                .set_namespace_mode(&desk.actor, &name, mode)
                .await?;
            desk.done(match mode {
                NamespaceMode::Normal => format!("namespace `{name}` takes changes"),
                NamespaceMode::ReadOnly => format!("namespace `{name}` is read-only"),
            })
        }
    }
}

//! `portolan admin`: accounts, repositories, keys, jobs and the audit log, straight in the database and without a running server.
//!
//! Every change is one transaction and ends with a line that says what was done.

mod audit;
mod job;
mod key;
mod moment;
mod repository;
mod user;

use crate::config::{self, Config, Need};
use crate::{telemetry, wire};

use anyhow::Context as _;
use portolan_metadata::{migrate, read_only};
use portolan_pg::{Metrics, Router, Tx};
use portolan_registry::identity::Actor;
use std::path::Path;
use std::process::ExitCode;
pub(crate) use user::{ensure_account, reset_password};

/// What to look after.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Users.
    User {
        #[command(subcommand)]
        task: user::Task,
    },
    /// Repositories.
    Repository {
        #[command(subcommand)]
        task: repository::Task,
    },
    /// Who did what, and how often what was pulled.
    Audit {
        #[command(subcommand)]
        task: audit::Task,
    },
    /// The keys that tokens are signed with, and what they are sealed with.
    Key {
        #[command(subcommand)]
        task: key::Task,
    },
    /// Work in the background.
    Job {
        #[command(subcommand)]
        task: job::Task,
    },
}

/// Runs one task.
pub(crate) async fn run(task: Task, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    with_config(file, async |config, router| match task {
        Task::User { task } => user::run(router, task).await,
        Task::Repository { task } => repository::run(router, task).await,
        Task::Audit { task } => audit::run(router, task).await,
        Task::Key { task } => key::run(config, router, task).await,
        Task::Job { task } => job::run(router, task).await,
    })
    .await
}

/// Does `work` with a way to the configured database, whose schema is one that this program knows.
pub(crate) async fn with_database(
    file: Option<&Path>,
    work: impl AsyncFnOnce(&Router) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    with_config(file, async |_, router| work(router).await).await
}

/// The same, for work that needs to know more of the configuration.
async fn with_config(
    file: Option<&Path>,
    work: impl AsyncFnOnce(&Config, &Router) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let config = config::load(file, Need::Database)?.config;
    telemetry::start(&config.log);
    let router = wire::database(
        &config,
        "admin",
        Metrics::unregistered(),
        &mut wire::random()?,
    )?;
    let outcome = async {
        migrate::check(&router.read_primary().await?).await?;
        work(&config, &router).await
    }
    .await;
    router.close().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Whoever runs this command, as the audit log names him.
fn actor() -> Actor {
    Actor::command_line(format!("uid {}", rustix::process::getuid().as_raw()))
}

/// Begins a change, which read-only mode refuses here as everywhere.
async fn begin(router: &Router) -> anyhow::Result<Tx> {
    let tx = router.begin().await?;
    read_only::refuse_writes(&tx)
        .await
        .context("run `portolan read-only off` first")?;
    Ok(tx)
}

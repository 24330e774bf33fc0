//! `portolan admin`: accounts, repositories and jobs, straight in the database and without a running server.
//!
//! Every change is one transaction and ends with a line that says what was done.

mod federation;
mod job;
mod repository;
mod user;

use crate::config::{self, Need};
use crate::{telemetry, wire};

use anyhow::Context as _;
use portolan_metadata::{migrate, read_only};
use portolan_pg::{Metrics, Router, Tx};
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
    /// Logins of CI systems without a secret: whose ID tokens stand for a robot.
    Federation {
        #[command(subcommand)]
        task: federation::Task,
    },
    /// Repositories.
    Repository {
        #[command(subcommand)]
        task: repository::Task,
    },
    /// Work in the background.
    Job {
        #[command(subcommand)]
        task: job::Task,
    },
}

/// Runs one task.
pub(crate) async fn run(task: Task, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    with_database(file, async |router| match task {
        Task::User { task } => user::run(router, task).await,
        Task::Federation { task } => federation::run(router, file, task).await,
        Task::Repository { task } => repository::run(router, task).await,
        Task::Job { task } => job::run(router, task).await,
    })
    .await
}

/// Does `work` with a way to the configured database, whose schema is one that this program knows.
pub(crate) async fn with_database(
    file: Option<&Path>,
    work: impl AsyncFnOnce(&Router) -> anyhow::Result<()>,
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
        work(&router).await
    }
    .await;
    router.close().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Begins a change, which read-only mode refuses here as everywhere.
async fn begin(router: &Router) -> anyhow::Result<Tx> {
    let tx = router.begin().await?;
    read_only::refuse_writes(&tx)
        .await
        .context("run `portolan read-only off` first")?;
    Ok(tx)
}

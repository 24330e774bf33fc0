//! `portolan admin`: accounts, repositories and jobs, straight in the database and without a running server.
//!
//! Every change is one transaction and ends with a line that says what was done.

mod job;
mod repository;
mod user;

use crate::config::{self, Need};
use crate::{telemetry, wire};

use portolan_pg::{Metrics, Router};
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
    /// Work in the background.
    Job {
        #[command(subcommand)]
        task: job::Task,
    },
}

/// Runs one task.
pub(crate) async fn run(task: Task, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let config = config::load(file, Need::Database)?.config;
    telemetry::start(&config.log);
    let router = wire::database(
        &config,
        "admin",
        Metrics::unregistered(),
        &mut wire::random()?,
    )?;
    let outcome = with_database(&router, task).await;
    router.close().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn with_database(router: &Router, task: Task) -> anyhow::Result<()> {
    portolan_metadata::migrate::check(&router.read_primary().await?).await?;
    match task {
        Task::User { task } => user::run(router, task).await,
        Task::Repository { task } => repository::run(router, task).await,
        Task::Job { task } => job::run(router, task).await,
    }
}

//! `portolan admin`: accounts, rights, repositories, keys, jobs and the audit log, straight in the database and without a
//! running server.
//!
//! A file for each noun. Every change is one function of [`portolan_registry::identity`], is in the audit log, and ends
//! with a line that says what was done.

mod administrator;
mod audit;
mod default_permission;
mod desk;
mod explain;
mod federation;
mod job;
mod key;
mod moment;
mod namespace;
mod org;
mod password;
mod permission;
mod repository;
mod revoke;
mod robot;
mod team;
mod token;
mod user;
mod words;

pub(crate) use administrator::{ensure_account, reset_password};

use crate::config::{self, Config, Need};
use crate::output::Format;
use crate::{telemetry, wire};
use anyhow::Context as _;
use desk::Desk;
use portolan_metadata::{Refused, migrate, read_only};
use portolan_pg::{Router, Tx};
use portolan_registry::Error;
use std::path::Path;
use std::process::ExitCode;

/// A command line whose parts do not go together, as clap cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(&'static str);

/// What to look after.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Users.
    User {
        #[command(subcommand)]
        task: user::Task,
    },
    /// Organizations.
    Org {
        #[command(subcommand)]
        task: org::Task,
    },
    /// Teams of organizations, and who is in them.
    Team {
        #[command(subcommand)]
        task: team::Task,
    },
    /// Rights in repositories beyond their owners'.
    Permission {
        #[command(subcommand)]
        task: permission::Task,
    },
    /// Rights that new repositories give.
    DefaultPermission {
        #[command(subcommand)]
        task: default_permission::Task,
    },
    /// Namespaces.
    Namespace {
        #[command(subcommand)]
        task: namespace::Task,
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
    /// Robots: accounts of programs, which log in with a secret.
    Robot {
        #[command(subcommand)]
        task: robot::Task,
    },
    /// Application tokens of users.
    Token {
        #[command(subcommand)]
        task: token::Task,
    },
    /// End every token and session that an account has been given, at once and in all processes.
    Revoke(revoke::Revoke),
    /// Say whether an account may do something in a repository, and why. Exits with 0 if it may, with 1 if not.
    Explain(explain::Question),
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
pub(crate) async fn run(
    task: Task,
    output: Format,
    file: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    with_config(file, async |config, router| {
        let desk = Desk::new(router, output);
        let done = match task {
            Task::User { task } => user::run(&desk, task).await,
            Task::Org { task } => org::run(&desk, task).await,
            Task::Team { task } => team::run(&desk, task).await,
            Task::Permission { task } => permission::run(&desk, task).await,
            Task::DefaultPermission { task } => default_permission::run(&desk, task).await,
            Task::Namespace { task } => namespace::run(&desk, task).await,
            Task::Repository { task } => repository::run(&desk, task).await,
            Task::Robot { task } => robot::run(&desk, task).await,
            Task::Token { task } => token::run(&desk, task).await,
            Task::Revoke(revoke) => revoke::run(&desk, revoke).await,
            Task::Federation { task } => federation::run(&desk, file, task).await,
            Task::Audit { task } => audit::run(&desk, task).await,
            Task::Key { task } => key::run(&desk, config, task).await,
            Task::Explain(question) => explain::run(&desk, question)
                .await
                .map(|answer| code = answer),
            Task::Job { task } => job::run(&desk, router, task).await,
        };
        done.map_err(advised)
    })
    .await?;
    Ok(code)
}

/// With what to do about it, where something can be done.
fn advised(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Error>() {
        Some(Error::ReadOnly { .. }) => error.context("run `portolan read-only off` first"),
        Some(Error::Refused(Refused::HasRepositories)) => {
            error.context("delete them first, or say `--with-repositories`")
        }
        _ => error,
    }
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
    let router = wire::database_for_command(&config, "admin", &mut wire::random()?)?;
    let outcome = async {
        migrate::check(&router.read_primary().await?).await?;
        work(&config, &router).await
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

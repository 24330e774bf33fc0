//! `portolan admin job`.

use super::begin;
use super::desk::{Desk, PAGE};
use crate::worker::Kind;
use portolan_metadata::audit::{self, Change};
use portolan_metadata::jobs::{self, JobRow};
use portolan_pg::Router;
use serde::Serialize;
use std::fmt;

/// What to do with jobs.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Print every job: its state, attempts and last error.
    List,
    /// Let nobody take up jobs of a kind; what runs is finished.
    Pause {
        /// Which kind.
        kind: Kind,
    },
    /// Let jobs of a kind be taken up again.
    Resume {
        /// Which kind.
        kind: Kind,
    },
}

/// Runs one task.
pub(super) async fn run(desk: &Desk, router: &Router, task: Task) -> anyhow::Result<()> {
    match task {
        Task::List => {
            let fetch = async |last: Option<&JobRow>| {
                let reader = router.read_list();
                Ok(jobs::list(&reader, last.map(|row| row.id), PAGE).await?)
            };
            desk.pages(fetch, |row| Job::from(row)).await
        }
        Task::Pause { kind } => set_paused(desk, router, kind, true).await,
        Task::Resume { kind } => set_paused(desk, router, kind, false).await,
    }
}

async fn set_paused(desk: &Desk, router: &Router, kind: Kind, paused: bool) -> anyhow::Result<()> {
    let tx = begin(router).await?;
    let jobs = jobs::set_paused(&tx, kind.name(), paused).await?;
    let action = if paused { "job.pause" } else { "job.resume" };
    audit::record(&tx, &desk.actor, &Change::of(action, kind.name())).await?;
    router.acknowledge(tx.commit().await?).await?;
    let done = if paused { "paused" } else { "resumed" };
    desk.done(format!("{done} `{}`: {jobs} jobs", kind.name()))
}

/// A job in a list.
#[derive(Debug, Serialize)]
struct Job {
    state: &'static str,
    kind: String,
    key: String,
    attempts: u32,
    last_error: Option<String>,
}

impl From<&JobRow> for Job {
    fn from(row: &JobRow) -> Self {
        Self {
            state: match (row.paused, row.claimed_at) {
                (true, _) => "paused",
                (false, Some(_)) => "running",
                (false, None) => "waiting",
            },
            kind: row.kind.clone(),
            key: row.key.clone(),
            attempts: row.attempts,
            last_error: row.last_error.clone(),
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.last_error.as_deref().unwrap_or_default();
        write!(
            f,
            "{}\t{}\t{}\tattempts {}\t{error}",
            self.state, self.kind, self.key, self.attempts
        )
    }
}

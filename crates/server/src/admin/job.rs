//! `portolan admin job`.

use super::begin;
use crate::worker::Kind;
use portolan_metadata::jobs;
use portolan_pg::Router;
use std::io::Write as _;

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

/// Rows fetched at a time.
const PAGE: usize = 1_000;

/// Runs one task.
pub(super) async fn run(router: &Router, task: Task) -> anyhow::Result<()> {
    match task {
        Task::List => list(router).await,
        Task::Pause { kind } => set_paused(router, kind, true).await,
        Task::Resume { kind } => set_paused(router, kind, false).await,
    }
}

async fn set_paused(router: &Router, kind: Kind, paused: bool) -> anyhow::Result<()> {
    let tx = begin(router).await?;
    let jobs = jobs::set_paused(&tx, kind.name(), paused).await?;
    router.acknowledge(tx.commit().await?).await?;
    let done = if paused { "paused" } else { "resumed" };
    writeln!(std::io::stdout(), "{done} `{}`: {jobs} jobs", kind.name())?;
    Ok(())
}

async fn list(router: &Router) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let mut after = None;
    loop {
        let reader = router.read_list();
        let rows = jobs::list(&reader, after, PAGE).await?;
        drop(reader);
        for row in &rows {
            let state = match (row.paused, row.claimed_at) {
                (true, _) => "paused",
                (false, Some(_)) => "running",
                (false, None) => "waiting",
            };
            let error = row.last_error.as_deref().unwrap_or_default();
            writeln!(
                out,
                "{state}\t{}\t{}\tattempts {}\t{error}",
                row.kind, row.key, row.attempts
            )?;
        }
        match rows.get(PAGE - 1) {
            Some(row) => after = Some(row.id),
            None => return Ok(()),
        }
    }
}

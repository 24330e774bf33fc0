//! The loop that claims jobs, runs them beside each other, and reports.

use super::kind::Batch;
use super::metrics::{Metrics, Outcome};
use super::{Duties, Kind};
use crate::shutdown::Tasks;
use portolan_metadata::jobs::{self, ClaimedJob, Lease, NewJob};
use portolan_metadata::{Error, read_only};
use portolan_pg::{Router, Tx};
use portolan_registry::{Error as Refusal, Registry};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a claim lasts without a sign of life. A worker that died delays its jobs by this much; one that lives has
/// three tries to say so.
const LEASE: Duration = Duration::from_mins(1);
/// How often a sign of life is given.
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// An idle worker asks this often: other processes may have asked for something in the meantime.
const ASK_EVERY: Duration = Duration::from_mins(1);
/// The first wait after a failure; it doubles up to the cap. A job that fails for a reason that will not go away
/// costs an attempt an hour.
const RETRY_BASE: Duration = Duration::from_secs(10);
const RETRY_CAP: Duration = Duration::from_hours(1);

/// What a worker needs.
#[derive(Debug)]
pub(crate) struct WorkerParts {
    /// Claims and reports.
    pub(crate) router: Router,
    /// Does the work.
    pub(crate) registry: Registry,
    /// What it needs for the rest.
    pub(crate) duties: Duties,
    /// Counts it.
    pub(crate) metrics: Metrics,
    /// Jobs beside each other.
    pub(crate) concurrency: usize,
    /// Draws the waits.
    pub(crate) random: StdRng,
}

/// Runs jobs until it is stopped.
#[derive(Debug)]
pub(crate) struct Worker {
    parts: WorkerParts,
    stopping: CancellationToken,
    running: JoinSet<()>,
    /// Claims that failed in a row.
    failures: u32,
}

impl Worker {
    /// Starts the worker as a task.
    ///
    /// When the tasks are told to stop it claims nothing more and gives up what runs, which may happen to any job at
    /// any time: the next claim finds what is left.
    pub(crate) fn start(tasks: &Tasks, parts: WorkerParts) {
        let stopping = tasks.stopping().clone();
        let worker = Self {
            parts,
            stopping,
            running: JoinSet::new(),
            failures: 0,
        };
        tasks.spawn("worker", worker.run());
    }

    async fn run(mut self) {
        let mut ensured = false;
        let mut next_claim = Instant::now();
        loop {
            let has_room = self.running.len() < self.parts.concurrency;
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => break,
                Some(_) = self.running.join_next() => next_claim = Instant::now(),
                () = tokio::time::sleep_until(next_claim), if has_room => {
                    let wait = match self.look(&mut ensured).await {
                        Ok(wait) => {
                            self.failures = 0;
                            wait
                        }
                        Err(error) => {
                            if self.failures == 0 {
                                tracing::warn!(%error, "cannot look for jobs: {error}");
                            }
                            self.failures = self.failures.saturating_add(1);
                            self.back_off(self.failures).min(ASK_EVERY)
                        }
                    };
                    next_claim = Instant::now() + wait;
                }
            }
        }
        // Dropping the set would do the same, but leave its tasks running on for a moment.
        self.running.shutdown().await;
    }

    /// Claims what is due and starts it; returns when to look again.
    async fn look(&mut self, ensured: &mut bool) -> Result<Duration, Error> {
        let kinds = Kind::ALL.map(Kind::name);
        let room = self.parts.concurrency - self.running.len();
        let tx = match begin(&self.parts.router).await {
            Err(Error::ReadOnly { .. }) => return Ok(ASK_EVERY),
            begun => begun?,
        };
        if !*ensured {
            for kind in Kind::ALL {
                let payload = serde_json::Value::Null;
                let new = NewJob {
                    kind: kind.name(),
                    key: "",
                    payload: &payload,
                    due_in: Duration::ZERO,
                };
                jobs::ensure(&tx, &new).await?;
            }
        }
        let claimed = jobs::claim(&tx, &kinds, LEASE, room).await?;
        let next_due = jobs::next_due(&tx, &kinds).await?;
        // No reader is promised anything by this: no barrier.
        let _committed = tx.commit().await?;
        *ensured = true;
        let took_all = claimed.len() == room;
        for job in claimed {
            self.begin(&job);
        }
        if took_all {
            // When one of them ends there is room again, and the loop looks at once.
            return Ok(ASK_EVERY);
        }
        let wait = next_due.unwrap_or(ASK_EVERY).min(ASK_EVERY);
        // A little apart, so that workers that wait for the same job do not ask in the same millisecond.
        Ok(wait
            + self
                .parts
                .random
                .random_range(Duration::ZERO..Duration::from_secs(1)))
    }

    fn begin(&mut self, job: &ClaimedJob) {
        let Some(kind) = Kind::named(&job.kind) else {
            return;
        };
        let retry_in = self.back_off(job.attempt);
        let run = Run {
            router: self.parts.router.clone(),
            registry: self.parts.registry.clone(),
            duties: self.parts.duties.clone(),
            metrics: self.parts.metrics.clone(),
            stopping: self.stopping.clone(),
            kind,
            lease: job.lease,
            retry_in,
        };
        let random = StdRng::from_rng(&mut self.parts.random);
        self.running.spawn(run.until_done(random));
    }

    /// Full jitter over a doubling span.
    fn back_off(&mut self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(16);
        let span = RETRY_BASE.saturating_mul(1 << doublings).min(RETRY_CAP);
        self.parts
            .random
            .random_range(Duration::from_secs(1)..=span)
    }
}

/// One run of one job.
struct Run {
    router: Router,
    registry: Registry,
    duties: Duties,
    metrics: Metrics,
    stopping: CancellationToken,
    kind: Kind,
    lease: Lease,
    retry_in: Duration,
}

impl Run {
    async fn until_done(self, mut random: StdRng) {
        let started = Instant::now();
        self.metrics.begun(self.kind);
        let outcome = tokio::select! {
            biased;
            () = self.stopping.cancelled() => Outcome::Cancelled,
            () = self.keep_lease() => Outcome::LeaseLost,
            outcome = self.work(&mut random) => outcome,
        };
        self.metrics.ended(self.kind, outcome, started.elapsed());
        if outcome == Outcome::LeaseLost {
            let job = self.kind.name();
            tracing::warn!(job, "job `{job}` lost its lease; another worker has it");
        }
    }

    /// Batch after batch, then the report.
    async fn work(&self, random: &mut StdRng) -> Outcome {
        let job = self.kind.name();
        let mut dealt_with = 0;
        let failure = loop {
            match self.kind.run(&self.registry, &self.duties, random).await {
                Ok(Batch { done, more }) => {
                    dealt_with += done;
                    self.metrics.dealt_with(self.kind, done);
                    if !more {
                        break None;
                    }
                }
                // Its lease ends by itself, and then somebody asks again whether writes are taken.
                Err(Refusal::ReadOnly { .. }) => return Outcome::Paused,
                Err(error) => break Some(error),
            }
        };
        if dealt_with > 0 {
            tracing::info!(job, dealt_with, "job `{job}` dealt with {dealt_with}");
        }
        let report = match &failure {
            None => self.report_done().await,
            Some(error) => {
                let error = with_causes(error);
                tracing::warn!(job, error, "job `{job}` failed: {error}");
                self.report_failed(&error).await
            }
        };
        match report {
            Ok(true) if failure.is_none() => Outcome::Done,
            Ok(true) => Outcome::Failed,
            Ok(false) => Outcome::LeaseLost,
            Err(Error::ReadOnly { .. }) => Outcome::Paused,
            Err(error) => {
                // The lease ends by itself, and the job is run again: all of them may be.
                tracing::warn!(job, %error, "cannot report on job `{job}`: {error}");
                Outcome::Failed
            }
        }
    }

    async fn report_done(&self) -> Result<bool, Error> {
        let tx = begin(&self.router).await?;
        let kept = jobs::complete(&tx, &self.lease, Some(self.kind.period())).await?;
        let _committed = tx.commit().await?;
        Ok(kept)
    }

    async fn report_failed(&self, error: &str) -> Result<bool, Error> {
        let tx = begin(&self.router).await?;
        let kept = jobs::fail(&tx, &self.lease, error, self.retry_in).await?;
        let _committed = tx.commit().await?;
        Ok(kept)
    }

    /// Renews the lease; returns when it is lost, or could not be renewed in time.
    async fn keep_lease(&self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            match self.renew().await {
                Ok(true) => renewed = Instant::now(),
                Err(_) if renewed.elapsed() < LEASE => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    async fn renew(&self) -> Result<bool, Error> {
        let tx = begin(&self.router).await?;
        let kept = jobs::renew(&tx, &self.lease, LEASE).await?;
        let _committed = tx.commit().await?;
        Ok(kept)
    }
}

/// Begins a transaction of the job table; in read-only mode that stands still too, and no job is begun.
async fn begin(router: &Router) -> Result<Tx, Error> {
    let tx = router.begin_background().await?;
    read_only::refuse_writes(&tx).await?;
    Ok(tx)
}

/// An error and everything that led to it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

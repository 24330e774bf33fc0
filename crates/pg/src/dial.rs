//! The one task per server that makes connections.
//!
//! Callers never dial. They say at the [`Dock`] that they want a connection and wait there; the task makes as many as
//! are wanted, at most two at a time and as [`crate::pacing`] lets it, and lays them down. So a caller that gives up
//! cancels nothing, a thousand callers cause no thousand attempts, and back-off is shared by all.

use std::{sync::Arc, time::Duration};

use rand::rngs::StdRng;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    connect::{Connector, DisplayChain, Fresh},
    connection::Connection,
    dock::{DialFailure, Dock, Door},
    error::DialError,
    metrics::{DialLabels, DialOutcome, Metrics, Role, ServerLabel},
    pacing::{Allowance, Failure, Pacing},
    policy::{AgePolicy, DialPolicy},
    sqlstate,
};

/// The task that makes connections.
pub(crate) struct Dialler {
    pub(crate) connector: Arc<Connector>,
    pub(crate) dock: Arc<Dock>,
    pub(crate) policy: DialPolicy,
    pub(crate) pacing: Pacing,
    pub(crate) age: AgePolicy,
    pub(crate) metrics: Metrics,
    pub(crate) rng: StdRng,
}

/// An attempt, and how long it took.
type Attempt = (Result<Fresh, DialError>, Duration);

impl Dialler {
    /// Makes connections as they are wanted, until `shutdown`; attempts still under way are given up then, and
    /// where this is dropped.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut attempts: JoinSet<Attempt> = JoinSet::new();
        loop {
            let look_again = self.begin(&mut attempts);
            self.count_in_flight(&attempts);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(done) = attempts.join_next() => match done {
                    Ok((Ok(fresh), took)) => self.connected(fresh, took),
                    Ok((Err(error), took)) => self.failed(error, took),
                    Err(panicked) => {
                        tracing::error!(error = %panicked, "an attempt to connect panicked");
                        self.pacing.failed(Failure::Passing, Instant::now(), &mut self.rng);
                    }
                },
                () = self.dock.wanted_more() => {}
                () = until(look_again), if look_again.is_some() => {}
            }
        }
        attempts.shutdown().await;
        self.dock.reap(|_| true);
        self.count_in_flight(&attempts);
    }

    /// Begins as many attempts as are wanted and allowed. Says when more will be allowed, if that is what is missing.
    fn begin(&mut self, attempts: &mut JoinSet<Attempt>) -> Option<Instant> {
        loop {
            let wanted = self.dock.missing().saturating_sub(attempts.len());
            if wanted == 0 {
                return None;
            }
            match self.pacing.allowance(attempts.len(), Instant::now()) {
                Allowance::NotBefore(moment) => return Some(moment),
                // One of those under way will end.
                Allowance::Begin(0) => return None,
                Allowance::Begin(more) => {
                    for _ in 0..more.min(wanted) {
                        self.pacing.begun();
                        self.start(attempts);
                    }
                }
            }
        }
    }

    fn role(&self) -> Role {
        self.connector.role
    }

    fn start(&self, attempts: &mut JoinSet<Attempt>) {
        let connector = Arc::clone(&self.connector);
        attempts.spawn(async move {
            let began = Instant::now();
            let result = connector.connect().await;
            (result, began.elapsed())
        });
    }

    fn count_in_flight(&self, attempts: &JoinSet<Attempt>) {
        let server = ServerLabel {
            server: self.role(),
        };
        let count = i64::try_from(attempts.len()).unwrap_or(i64::MAX);
        self.metrics.dialling.get_or_create(&server).set(count);
    }

    fn connected(&mut self, fresh: Fresh, took: Duration) {
        self.count(DialOutcome::Connected, took);
        self.pacing.succeeded(Instant::now());
        self.dock.set_door(Door::Open);
        let connection = Connection::new(fresh, &self.age, &mut self.rng);
        self.dock.lay_down(connection);
    }

    fn failed(&mut self, error: DialError, took: Duration) {
        self.count(outcome_of(&error), took);
        let for_good = error.is_for_good();
        let failure = if for_good {
            Failure::ForGood
        } else {
            Failure::Passing
        };
        let (next_attempt, failures) = self.pacing.failed(failure, Instant::now(), &mut self.rng);
        if for_good {
            tracing::error!(server = %self.role(), error = %DisplayChain(&error), "the database refuses to let us in");
        } else {
            tracing::warn!(server = %self.role(), failures, error = %DisplayChain(&error), "connecting to the database failed");
        }
        let failure = DialFailure {
            error,
            next_attempt,
        };
        let shut = for_good || failures >= self.policy.refuse_after;
        self.dock.set_door(if shut {
            Door::Shut(failure)
        } else {
            Door::Doubtful(failure)
        });
    }

    fn count(&self, outcome: DialOutcome, took: Duration) {
        let server = self.role();
        self.metrics
            .dials
            .get_or_create(&DialLabels { server, outcome })
            .inc();
        self.metrics
            .dial_seconds
            .get_or_create(&ServerLabel { server })
            .observe(took.as_secs_f64());
    }
}

async fn until(moment: Option<Instant>) {
    if let Some(moment) = moment {
        sleep_until(moment).await;
    }
}

fn outcome_of(error: &DialError) -> DialOutcome {
    match error {
        DialError::TimedOut { .. } | DialError::Slow { .. } => DialOutcome::TimedOut,
        DialError::WrongRole { .. }
        | DialError::OtherCluster
        | DialError::Unidentified
        | DialError::Pooled => DialOutcome::WrongServer,
        DialError::WrongIsolation | DialError::TooOld { .. } => DialOutcome::RefusedForGood,
        DialError::Refused(_) => match error.sqlstate() {
            Some(code) if sqlstate::is_too_many_connections(code) => DialOutcome::TooMany,
            Some(code) if sqlstate::is_shutting_down(code) => DialOutcome::NotServing,
            _ if error.is_for_good() => DialOutcome::RefusedForGood,
            _ => DialOutcome::Unreachable,
        },
    }
}

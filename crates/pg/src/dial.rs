//! The one task per server that makes connections.
//!
//! Callers never dial. They say at the [`Dock`] that they want a connection and wait there; the task makes as many as
//! are wanted, at most two at a time, and lays them down. So a caller that gives up cancels nothing, a thousand
//! callers cause no thousand attempts, and back-off is shared by all.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, rngs::StdRng};
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
    policy::{AgePolicy, DialPolicy},
    sqlstate,
};

/// The task that makes connections.
pub(crate) struct Dialler {
    pub(crate) connector: Arc<Connector>,
    pub(crate) dock: Arc<Dock>,
    pub(crate) policy: DialPolicy,
    pub(crate) age: AgePolicy,
    pub(crate) metrics: Metrics,
    pub(crate) rng: StdRng,
}

/// An attempt, and how long it took.
type Attempt = (Result<Fresh, DialError>, Duration);

impl Dialler {
    /// Makes connections as they are wanted, until `shutdown`; attempts still under way are given up then.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut attempts: JoinSet<Attempt> = JoinSet::new();
        let mut failures: u32 = 0;
        let mut not_before = Instant::now();
        loop {
            let waiting_out = Instant::now() < not_before;
            // While failing, one attempt finds out for all.
            let at_once = if failures == 0 {
                self.policy.at_once
            } else {
                1
            };
            let missing = self.dock.missing();
            if !waiting_out {
                while attempts.len() < at_once.min(missing) {
                    self.start(&mut attempts);
                }
            }
            self.count_in_flight(&attempts);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(done) = attempts.join_next() => match done {
                    Ok((Ok(fresh), took)) => {
                        failures = 0;
                        not_before = Instant::now();
                        self.connected(fresh, took);
                    }
                    Ok((Err(error), took)) => {
                        failures = failures.saturating_add(1);
                        not_before = self.failed(error, took, failures);
                    }
                    Err(panicked) => {
                        tracing::error!(error = %panicked, "an attempt to connect panicked");
                        failures = failures.saturating_add(1);
                        not_before = Instant::now() + self.policy.backoff_cap;
                    }
                },
                () = self.dock.wanted_more() => {}
                () = sleep_until(not_before), if waiting_out && missing > 0 => {}
            }
        }
        attempts.shutdown().await;
        self.dock.reap(|_| true);
        self.count_in_flight(&attempts);
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
        self.dock.set_door(Door::Open);
        let connection = Connection::new(fresh, &self.age, &mut self.rng);
        self.dock.lay_down(connection);
    }

    /// Notes a failure and says when to try again: full jitter, so that processes that failed together do not try
    /// together (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
    fn failed(&mut self, error: DialError, took: Duration, failures: u32) -> Instant {
        let outcome = outcome_of(&error);
        self.count(outcome, took);
        let for_good = outcome == DialOutcome::RefusedForGood;
        let limit = if for_good {
            // Somebody has to change something first: ten times the cap is soon enough to notice that they did.
            self.policy.backoff_cap * 10
        } else {
            let doubled = self.policy.backoff_base * 2_u32.saturating_pow(failures.min(16));
            doubled.min(self.policy.backoff_cap)
        };
        let next_attempt = Instant::now() + limit.mul_f64(self.rng.random_range(0.0..=1.0));
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
        next_attempt
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

fn outcome_of(error: &DialError) -> DialOutcome {
    match error {
        DialError::TimedOut { .. } | DialError::Slow { .. } => DialOutcome::TimedOut,
        DialError::WrongRole { .. } | DialError::OtherCluster | DialError::Unidentified => {
            DialOutcome::WrongServer
        }
        DialError::WrongIsolation | DialError::TooOld { .. } => DialOutcome::RefusedForGood,
        DialError::Refused(_) => match error.sqlstate() {
            Some(code) if sqlstate::is_too_many_connections(code) => DialOutcome::TooMany,
            Some(code) if sqlstate::is_shutting_down(code) => DialOutcome::NotServing,
            _ if error.is_for_good() => DialOutcome::RefusedForGood,
            _ => DialOutcome::Unreachable,
        },
    }
}

//! The one task per server that makes connections, and the dock where it leaves them.
//!
//! Callers never dial. They say at the [`Dock`] that they want a connection and wait there; the task makes as many as
//! are wanted, at most two at a time, and lays them down. So a caller that gives up cancels nothing, a thousand
//! callers cause no thousand attempts, and back-off is shared by all. After some failures in a row callers are sent
//! away at once until the next attempt is due: a server that is down is not worth a queue.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, rngs::StdRng};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    connect::{Connector, DisplayChain, Fresh},
    connection::Connection,
    error::DialError,
    metrics::{DialLabels, DialOutcome, Metrics, Role, ServerLabel},
    policy::{AgePolicy, DialPolicy},
    sqlstate,
};

/// Why no connection can be had.
#[derive(Debug, Clone)]
pub(crate) struct DialFailure {
    pub(crate) error: DialError,
    pub(crate) next_attempt: Instant,
}

/// How the server's door looks to those who want to go in.
#[derive(Debug, Clone)]
enum Door {
    /// The last attempt succeeded, or there was none.
    Open,
    /// The last attempts failed, but not often enough to send anybody away.
    Doubtful(DialFailure),
    /// Too many failed: nobody waits before the next attempt is due.
    Shut(DialFailure),
}

/// Where finished connections lie until somebody who wants one takes it.
///
/// With deadpool's bound on those who create, it also bounds the connections: an attempt begins only if fewer are
/// under way or lie here than are wanted at that moment, and whoever wants one holds a place in the pool.
#[derive(Debug)]
pub(crate) struct Dock {
    berth: Mutex<Berth>,
    /// One permit for each connection that lies here. Whoever is woken and goes away passes the permit on.
    laid_down: Semaphore,
    wanted_more: Notify,
    door: watch::Sender<Door>,
    /// Connections to the server that exist, wherever they are.
    alive: Arc<AtomicUsize>,
}

/// One lock for both, so that a connection and the wish it fulfils leave together: in between the dialling task
/// would see a wish without a connection, and make one too many.
#[derive(Debug, Default)]
struct Berth {
    /// The one laid down last is taken first.
    ready: Vec<Connection>,
    wanted: usize,
}

impl Dock {
    pub(crate) fn new() -> Self {
        Self {
            berth: Mutex::default(),
            laid_down: Semaphore::new(0),
            wanted_more: Notify::new(),
            door: watch::Sender::new(Door::Open),
            alive: Arc::default(),
        }
    }

    /// Waits for a connection, or for the news that there will be none for a while.
    ///
    /// Cancel safe: the wish is withdrawn, and a connection made for it waits for the next.
    pub(crate) async fn next(&self) -> Result<Connection, DialFailure> {
        let mut door = self.door.subscribe();
        let mut wish = Wish::of(self);
        loop {
            // Also when the door is shut: what lies here is as good as ever.
            if let Ok(permit) = self.laid_down.try_acquire()
                && let Some(connection) = wish.fulfil(permit)
            {
                return Ok(connection);
            }
            // While there are others, one may come back: a server with no room for more still serves those it has.
            if let Door::Shut(failure) = &*door.borrow_and_update()
                && Instant::now() < failure.next_attempt
                && self.alive() == 0
            {
                return Err(failure.clone());
            }
            tokio::select! {
                biased;
                permit = self.laid_down.acquire() => {
                    if let Ok(permit) = permit && let Some(connection) = wish.fulfil(permit) {
                        return Ok(connection);
                    }
                }
                _ = door.changed() => {}
            }
        }
    }

    /// What the last attempt ran into, if nothing has succeeded since.
    pub(crate) fn failure(&self) -> Option<DialFailure> {
        match &*self.door.borrow() {
            Door::Open => None,
            Door::Doubtful(failure) | Door::Shut(failure) => Some(failure.clone()),
        }
    }

    /// Counts the connections that exist; each adds itself, and takes itself away when it ends.
    pub(crate) fn register(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.alive)
    }

    /// Connections to the server that exist at present.
    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::Acquire)
    }

    /// Whether somebody waits here for a connection: then one that comes back should be laid down here. A free one now
    /// is better than a new one soon.
    pub(crate) fn is_waited_at(&self) -> bool {
        self.missing() > 0
    }

    /// Connections lying here.
    pub(crate) fn len(&self) -> usize {
        self.berth().ready.len()
    }

    /// Takes out those that `due` says to close, for the caller to drop.
    pub(crate) fn reap(&self, mut due: impl FnMut(&Connection) -> bool) -> Vec<Connection> {
        let mut removed = Vec::new();
        let mut berth = self.berth();
        let mut index = 0;
        while index < berth.ready.len() {
            if !due(&berth.ready[index]) {
                index += 1;
                continue;
            }
            // Without a permit it is promised to somebody who has just been woken.
            let Ok(permit) = self.laid_down.try_acquire() else {
                break;
            };
            permit.forget();
            removed.push(berth.ready.remove(index));
        }
        removed
    }

    /// Lays a connection down for whoever has waited longest.
    pub(crate) fn lay_down(&self, connection: Connection) {
        self.berth().ready.push(connection);
        self.laid_down.add_permits(1);
    }

    /// Connections that are wanted and do not lie here yet.
    fn missing(&self) -> usize {
        let berth = self.berth();
        berth.wanted.saturating_sub(berth.ready.len())
    }

    fn berth(&self) -> MutexGuard<'_, Berth> {
        self.berth.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody wants a connection: until it is fulfilled, or he goes away.
struct Wish<'a> {
    dock: &'a Dock,
    open: bool,
}

impl<'a> Wish<'a> {
    fn of(dock: &'a Dock) -> Self {
        dock.berth().wanted += 1;
        dock.wanted_more.notify_one();
        Self { dock, open: true }
    }

    fn fulfil(&mut self, permit: SemaphorePermit<'_>) -> Option<Connection> {
        permit.forget();
        let mut berth = self.dock.berth();
        let connection = berth.ready.pop()?;
        berth.wanted -= 1;
        self.open = false;
        Some(connection)
    }
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        if self.open {
            self.dock.berth().wanted -= 1;
        }
    }
}

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
                () = self.dock.wanted_more.notified() => {}
                () = sleep_until(not_before), if waiting_out && missing > 0 => {}
            }
        }
        attempts.shutdown().await;
        self.dock.reap(|_| true);
        self.in_flight(&attempts);
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
        self.in_flight(attempts);
    }

    fn in_flight(&self, attempts: &JoinSet<Attempt>) {
        let server = ServerLabel {
            server: self.role(),
        };
        let count = i64::try_from(attempts.len()).unwrap_or(i64::MAX);
        self.metrics.dialling.get_or_create(&server).set(count);
    }

    fn connected(&mut self, fresh: Fresh, took: Duration) {
        self.count(DialOutcome::Connected, took);
        self.dock.door.send_replace(Door::Open);
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
        self.dock.door.send_replace(if shut {
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
        DialError::WrongRole { .. } => DialOutcome::WrongRole,
        DialError::Refused(_) => match error.sqlstate() {
            Some(code) if sqlstate::is_too_many_connections(code) => DialOutcome::TooMany,
            Some(code) if sqlstate::is_shutting_down(code) => DialOutcome::NotServing,
            Some(code) if sqlstate::is_refused_for_good(code) => DialOutcome::RefusedForGood,
            _ => DialOutcome::Unreachable,
        },
    }
}

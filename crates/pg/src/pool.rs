//! The connections to one server: bounded by share, lent last-in first-out, and made by one task.
//!
//! deadpool keeps the free ones. Around it this module puts what it does not have: a gate per share with a bounded
//! queue and a deadline, the dialling task behind its `create`, the reaper, and an account of who waits and why.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{self, Object, PoolError, QueueMode};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    connect::{Connector, Surroundings},
    connection::{Connection, Supply},
    dial::Dialler,
    dock::{DialFailure, Dock},
    endpoint::Endpoint,
    error::{DialError, Error},
    gates::{Gates, Places},
    lease::Lease,
    metrics::{
        AcquireLabels, AcquireOutcome, CloseReason, Metrics, Role, ServerLabel, Share, ShareLabels,
    },
    pacing::Pacing,
    policy::{AgePolicy, Policy},
    reaper,
};

/// The least a client is told to wait: the smallest that `Retry-After` can say.
const LEAST_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The connections to one server. Must be made inside a runtime: its tasks run there until it is closed or dropped.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) shared: Arc<Shared>,
    _shutdown: DropGuard,
}

/// What a lease, and the tasks that outlive one, need of the pool.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) role: Role,
    pub(crate) policy: Policy,
    pub(crate) metrics: Metrics,
    pub(crate) tracker: TaskTracker,
    pub(crate) runtime: Handle,
    objects: managed::Pool<Supply>,
    dock: Arc<Dock>,
    gates: Gates,
    shutdown: CancellationToken,
    lent: AtomicUsize,
}

impl Pool {
    /// Starts the pool's tasks; dials nothing yet.
    pub(crate) fn new(
        role: Role,
        endpoint: Endpoint,
        policy: Policy,
        surroundings: Surroundings,
        metrics: Metrics,
        rng: &mut StdRng,
    ) -> Self {
        let tracker = TaskTracker::new();
        let shutdown = CancellationToken::new();
        let dock = Arc::new(Dock::new());
        let connector = Connector::new(
            role,
            endpoint,
            &policy,
            tracker.clone(),
            dock.register(),
            surroundings,
            metrics.clone(),
        );
        let dialler = Dialler {
            connector: Arc::new(connector),
            dock: Arc::clone(&dock),
            policy: policy.dial,
            pacing: Pacing::new(policy.dial, policy.shares.total()),
            age: policy.age,
            metrics: metrics.clone(),
            rng: StdRng::seed_from_u64(rng.random()),
        };
        let supply = Supply {
            dock: Arc::clone(&dock),
        };
        let objects = managed::Pool::builder(supply)
            .max_size(policy.shares.total())
            .queue_mode(QueueMode::Lifo)
            .build()
            .expect("a pool without timeouts needs no runtime, and nothing else can fail");
        let shared = Arc::new(Shared {
            role,
            gates: Gates::new(role, &policy, &metrics),
            policy,
            metrics,
            tracker: tracker.clone(),
            runtime: Handle::current(),
            objects,
            dock,
            shutdown: shutdown.clone(),
            lent: AtomicUsize::new(0),
        });
        tracker.spawn(dialler.run(shutdown.clone()));
        tracker.spawn(reaper::run(Arc::clone(&shared), shutdown.clone()));
        Self {
            shared,
            _shutdown: shutdown.drop_guard(),
        }
    }

    /// Borrows a connection, waiting no longer than the share's deadline.
    ///
    /// Cancel safe: whoever goes away leaves the queue; a connection being made is kept for the next.
    pub(crate) async fn acquire(&self, share: Share) -> Result<Lease, Error> {
        self.shared.lend(share).await
    }

    /// Whether nothing has failed since the last connection that was made.
    pub(crate) fn is_reachable(&self) -> bool {
        self.shared.dock.failure().is_none()
    }

    /// Closes every connection that is not lent, sends waiters away, and returns when the last lent one has come back
    /// and said goodbye.
    ///
    /// Cancel safe: closing goes on; only the waiting ends.
    pub(crate) async fn close(&self) {
        let shared = &self.shared;
        shared.shutdown.cancel();
        shared.gates.close();
        shared.objects.close();
        shared.tracker.close();
        shared.tracker.wait().await;
        shared.count_idle();
    }
}

impl Shared {
    /// See [`Pool::acquire`]; cancel safe as that, and whoever goes away is counted.
    pub(crate) async fn lend(self: &Arc<Self>, share: Share) -> Result<Lease, Error> {
        let attempt = Attempt::new(self, share);
        let result = self.acquire(share, attempt.began).await;
        attempt.ended(&result);
        result
    }

    /// Is cancelled when the pool is closed.
    pub(crate) fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Cancel safe: a place at the gate goes to the next, and so does a connection that was found but not lent.
    async fn acquire(self: &Arc<Self>, share: Share, began: Instant) -> Result<Lease, Error> {
        let deadline = began + self.policy.acquire.patience(share);
        let places = match self.gates.enter(share, deadline).await {
            // Those inside wait for a connection that cannot be made: it is not the load that is to blame.
            Err(error) if error.is_overload() => return Err(self.down().unwrap_or(error)),
            other => other?,
        };
        loop {
            let object = match timeout_at(deadline, self.objects.get()).await {
                Ok(Ok(object)) => object,
                Ok(Err(PoolError::Backend(failure))) => return Err(unavailable(failure)),
                // Timeouts and hooks are not configured.
                Ok(Err(_closed)) => return Err(Error::Closed),
                Err(_elapsed) => return Err(self.why_late(share, began)),
            };
            let asked = Asked::new(self, object);
            let answers = self.answers(asked.object(), deadline).await;
            let object = asked.end();
            if answers {
                self.lent.fetch_add(1, Ordering::AcqRel);
                let lease = Lease::new(object, places, Arc::clone(self), share);
                self.count_idle();
                return Ok(lease);
            }
            object.end(CloseReason::Unanswered);
            drop(Object::take(object));
        }
    }

    /// Asks a connection that nobody has used for a while whether it is still there. One that is not costs its caller
    /// [`AgePolicy::verify_timeout`] at most, and so leaves time for another.
    ///
    /// Cancel safe: the connection goes back to the pool with its answer outstanding; the next one to get it asks too.
    async fn answers(&self, object: &Object<Supply>, deadline: Instant) -> bool {
        let AgePolicy {
            verify_after,
            verify_timeout,
            ..
        } = self.policy.age;
        if object.client.is_closed() {
            return false;
        }
        if object.free_since.elapsed() <= verify_after {
            return true;
        }
        let now = Instant::now();
        let limit = verify_timeout.min(deadline.saturating_duration_since(now) / 2);
        matches!(
            timeout(limit, object.client.batch_execute("")).await,
            Ok(Ok(()))
        )
    }

    /// That there is no connection and none can be made, if that is so. While others have some, the server serves, only
    /// not everybody.
    fn down(&self) -> Option<Error> {
        let failure = self.dock.failure()?;
        (self.dock.alive() == 0).then(|| unavailable(failure))
    }

    /// A deadline passed while somebody who came at `began` waited for a connection: whose fault it is.
    pub(crate) fn why_late(&self, share: Share, began: Instant) -> Error {
        let waited = began.elapsed();
        if let Some(down) = self.down() {
            return down;
        }
        // Others have connections, and kept them.
        if self.objects.status().size > 0 {
            return Error::DeadlineExceeded { share, waited };
        }
        unavailable(DialFailure {
            error: DialError::Slow { waited },
            next_attempt: Instant::now(),
        })
    }

    /// Takes a connection back: to the others if it is still good, otherwise away.
    pub(crate) fn give_back(&self, mut object: Object<Supply>, places: Places) {
        object.free_since = Instant::now();
        self.put_back(object);
        // Only now: whoever enters next must find the connection.
        drop(places);
        self.lent.fetch_sub(1, Ordering::AcqRel);
        self.count_idle();
    }

    fn put_back(&self, object: Object<Supply>) {
        if let Some(reason) = object.due(Instant::now()) {
            object.end(reason);
            drop(Object::take(object));
        } else if self.dock.is_waited_at() {
            self.dock.lay_down(Object::take(object));
        } else {
            drop(object);
        }
    }

    /// Closes a connection instead of taking it back.
    pub(crate) fn discard(&self, object: Object<Supply>, places: Places, reason: CloseReason) {
        object.end(reason);
        drop(Object::take(object));
        drop(places);
        self.lent.fetch_sub(1, Ordering::AcqRel);
        self.count_idle();
    }

    /// Returns when the pool was closed and what is left behind has had time to end. Cancel safe: holds nothing.
    pub(crate) async fn closed(&self) {
        self.shutdown.cancelled().await;
        sleep(self.policy.age.farewell).await;
    }

    /// Closes what has been free, or has lived, for too long.
    pub(crate) fn reap(&self) {
        let now = Instant::now();
        self.close_free(|connection| connection.due(now));
    }

    /// Closes what is free, so that the next to borrow gets a new connection.
    pub(crate) fn make_anew(&self) {
        self.close_free(|_| Some(CloseReason::MadeAnew));
    }

    fn close_free(&self, due: impl Fn(&Connection) -> Option<CloseReason>) {
        let keep = |connection: &Connection| {
            let due = due(connection);
            if let Some(reason) = due {
                connection.end(reason);
            }
            due.is_none()
        };
        // The removed are dropped outside deadpool's lock.
        let from_pool = self.objects.retain(|connection, _| keep(connection));
        let from_dock = self.dock.reap(|connection| !keep(connection));
        drop((from_pool, from_dock));
        self.count_idle();
    }

    fn count_idle(&self) {
        let held = self.objects.status().size + self.dock.len();
        let idle = held.saturating_sub(self.lent.load(Ordering::Acquire));
        let server = ServerLabel { server: self.role };
        self.metrics
            .idle
            .get_or_create(&server)
            .set(i64::try_from(idle).unwrap_or(i64::MAX));
    }
}

fn unavailable(failure: DialFailure) -> Error {
    let until = failure
        .next_attempt
        .saturating_duration_since(Instant::now());
    Error::Unavailable {
        retry_after: until.max(LEAST_RETRY_AFTER),
        source: failure.error,
    }
}

/// A connection that is being asked whether it is still there. If its caller goes away meanwhile, it goes back like any
/// other: to whoever waits for one.
struct Asked<'a> {
    pool: &'a Shared,
    /// Taken out by `end` and `drop` alone.
    object: Option<Object<Supply>>,
}

impl<'a> Asked<'a> {
    fn new(pool: &'a Shared, object: Object<Supply>) -> Self {
        let object = Some(object);
        Self { pool, object }
    }

    fn object(&self) -> &Object<Supply> {
        self.object.as_ref().expect("held until the end")
    }

    fn end(mut self) -> Object<Supply> {
        self.object.take().expect("held until the end")
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            self.pool.put_back(object);
        }
    }
}

/// Counts one wait for a connection, also when the caller goes away in the middle.
struct Attempt<'a> {
    shared: &'a Shared,
    share: Share,
    began: Instant,
    outcome: AcquireOutcome,
}

impl<'a> Attempt<'a> {
    fn new(shared: &'a Shared, share: Share) -> Self {
        Self {
            shared,
            share,
            began: Instant::now(),
            outcome: AcquireOutcome::Abandoned,
        }
    }

    fn ended(mut self, result: &Result<Lease, Error>) {
        self.outcome = match result {
            Ok(_) => AcquireOutcome::Acquired,
            Err(Error::QueueFull { .. }) => AcquireOutcome::QueueFull,
            Err(Error::WaitedInVain { .. }) => AcquireOutcome::WaitedInVain,
            Err(Error::DeadlineExceeded { .. }) => AcquireOutcome::DeadlineExceeded,
            Err(Error::Closed) => AcquireOutcome::Closed,
            Err(_) => AcquireOutcome::Unavailable,
        };
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let (server, share, outcome) = (self.shared.role, self.share, self.outcome);
        let metrics = &self.shared.metrics;
        metrics
            .acquired
            .get_or_create(&AcquireLabels {
                server,
                share,
                outcome,
            })
            .inc();
        if outcome == AcquireOutcome::Acquired {
            metrics
                .acquire_seconds
                .get_or_create(&ShareLabels { server, share })
                .observe(self.began.elapsed().as_secs_f64());
        }
    }
}

//! A pooled connection: how old it may get, when it was used last, and why it ended.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use deadpool::managed::{self, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use rand::{Rng, RngExt};
use tokio::time::Instant;

use crate::{
    connect::Fresh,
    dock::{DialFailure, Dock},
    identify::Peer,
    metrics::{CloseLabels, CloseReason, Metrics, Role, ServerLabel},
    policy::AgePolicy,
};

/// A connection in the pool or lent.
pub(crate) struct Connection {
    pub(crate) client: ClientWrapper,
    /// The server. What is known of it belongs to the connection, not to whoever borrows it.
    pub(crate) peer: Peer,
    /// When it was given back last, or made.
    pub(crate) free_since: Instant,
    idle_limit: std::time::Duration,
    expires_at: Instant,
    ending: Arc<Ending>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("free_since", &self.free_since)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Gives a new connection its limits: idle less up to a fifth, lifetime give or take a fifth.
    pub(crate) fn new(fresh: Fresh, policy: &AgePolicy, rng: &mut impl Rng) -> Self {
        let idle_limit = policy.idle.mul_f64(rng.random_range(0.8..=1.0));
        let lifetime = policy.lifetime.mul_f64(rng.random_range(0.8..=1.2));
        let now = Instant::now();
        Self {
            client: fresh.client,
            peer: fresh.peer,
            free_since: now,
            idle_limit,
            expires_at: now + lifetime,
            ending: fresh.ending,
        }
    }

    /// Why this connection, which nobody uses, should be closed now.
    pub(crate) fn due(&self, now: Instant) -> Option<CloseReason> {
        if self.client.is_closed() {
            Some(CloseReason::Lost)
        } else if now >= self.expires_at {
            Some(CloseReason::Lifetime)
        } else if now.saturating_duration_since(self.free_since) >= self.idle_limit {
            Some(CloseReason::Idle)
        } else {
            None
        }
    }

    /// Whether it is older than it should get.
    pub(crate) fn is_expired(&self) -> bool {
        Instant::now() >= self.expires_at
    }

    /// Says why it is about to be dropped. The first reason counts.
    pub(crate) fn end(&self, reason: CloseReason) {
        self.ending.say(reason);
    }
}

/// Why a connection ended, once somebody knows.
#[derive(Debug, Default)]
pub(crate) struct Ending(OnceLock<CloseReason>);

impl Ending {
    fn say(&self, reason: CloseReason) {
        // Already said: a connection found lost by one may be reaped by another.
        let _ = self.0.set(reason);
    }
}

/// Counts a connection as open for as long as it lives, and its end exactly once. Held by the driving task.
#[derive(Debug)]
pub(crate) struct Life {
    role: Role,
    began: Instant,
    ending: Arc<Ending>,
    alive: Arc<AtomicUsize>,
    metrics: Metrics,
}

impl Life {
    pub(crate) fn begin(
        role: Role,
        ending: Arc<Ending>,
        alive: Arc<AtomicUsize>,
        metrics: Metrics,
    ) -> Self {
        let server = ServerLabel { server: role };
        metrics.open.get_or_create(&server).inc();
        alive.fetch_add(1, Ordering::AcqRel);
        Self {
            role,
            began: Instant::now(),
            ending,
            alive,
            metrics,
        }
    }

    /// It was dropped by us. Returns why; `otherwise`, if nobody has said.
    pub(crate) fn dropped(&self, otherwise: CloseReason) -> CloseReason {
        *self.ending.0.get_or_init(|| otherwise)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::AcqRel);
        let reason = *self.ending.0.get_or_init(|| CloseReason::Lost);
        let server = self.role;
        let labels = CloseLabels { server, reason };
        self.metrics.closed.get_or_create(&labels).inc();
        self.metrics
            .age_seconds
            .get_or_create(&labels)
            .observe(self.began.elapsed().as_secs_f64());
        self.metrics
            .open
            .get_or_create(&ServerLabel { server })
            .dec();
    }
}

/// Joins deadpool to the dialling task: a new object is the next connection that task finishes.
#[derive(Debug)]
pub(crate) struct Supply {
    pub(crate) dock: Arc<Dock>,
}

impl managed::Manager for Supply {
    type Type = Connection;
    type Error = DialFailure;

    async fn create(&self) -> Result<Connection, DialFailure> {
        self.dock.next().await
    }

    /// Only looks whether the line is known to be closed. The round trip for one long unused is made by the pool,
    /// where giving up does not cost the connection.
    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &managed::Metrics,
    ) -> RecycleResult<DialFailure> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("closed"));
        }
        Ok(())
    }
}

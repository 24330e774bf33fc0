//! Who answers: the one place that knows the servers.
//!
//! The verbs say the need. Which server meets it, on which connection and behind which proof of freshness, is decided
//! here and may change; each answer says who served it and why, and a counter keeps it.

use std::sync::Arc;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    conn::{Outside, Primary, Reader},
    connect::Surroundings,
    endpoint::Endpoint,
    error::Error,
    freshness::clock::BootClock,
    identify::ClusterId,
    metrics::{Metrics, Need, PrimaryReason, ReadLabels, Role, Share},
    point_read::{self, PointRead},
    policy::Policy,
    pool::Pool,
    tx::{Committed, Tx},
};

/// The way to the database. Cheap to clone; all clones share the connections.
#[derive(Debug, Clone)]
pub struct Router {
    servers: Arc<Servers>,
}

#[derive(Debug)]
struct Servers {
    primary: Pool,
    metrics: Metrics,
    begin_write: String,
    begin_background: String,
}

/// An answer, and who gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served<T> {
    /// The answer.
    pub value: T,
    /// Who gave it, and why they.
    pub by: ServedBy,
}

/// Who served a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedBy {
    /// The primary.
    Primary {
        /// Why not a replica.
        reason: PrimaryReason,
    },
    /// A replica that was provably fresh enough.
    Replica,
}

impl Router {
    /// Prepares the connections; makes none. The first request does.
    ///
    /// `seed` decides every random choice of the pool (jitter of ages and of back-off): a fleet needs different seeds,
    /// a test the same. Must be called inside a tokio runtime, where its tasks run until [`Router::close`] or until
    /// the last clone is dropped.
    pub fn connect(policy: Policy, primary: Endpoint, metrics: Metrics, seed: u64) -> Self {
        let begin = |limit: std::time::Duration| {
            // Behind a pooler nothing is set per session, and what the role has is meant for lanes.
            format!(
                "BEGIN; SET LOCAL statement_timeout = {}; SET LOCAL plan_cache_mode = auto{}",
                limit.as_millis(),
                if policy.pooler {
                    "; SET LOCAL synchronous_commit = on"
                } else {
                    ""
                }
            )
        };
        let (begin_write, begin_background) =
            (begin(policy.limits.write), begin(policy.limits.background));
        let mut rng = StdRng::seed_from_u64(seed);
        let surroundings = Surroundings {
            clock: Arc::new(BootClock),
            cluster: ClusterId::default(),
            process: uuid::Builder::from_random_bytes(rng.random()).into_uuid(),
        };
        let primary = Pool::new(
            Role::Primary,
            primary,
            policy,
            surroundings,
            metrics.clone(),
            &mut rng,
        );
        Self {
            servers: Arc::new(Servers {
                primary,
                metrics,
                begin_write,
                begin_background,
            }),
        }
    }

    /// A point read that sees everything acknowledged before it began: tags, rights, presence, storage keys.
    ///
    /// Cancel safe: a key that was not sent is not asked.
    pub async fn read_fresh<R: PointRead>(
        &self,
        key: R::Key,
    ) -> Result<Served<Option<R::Row>>, Error> {
        self.point_read::<R>(Need::Fresh, key).await
    }

    /// A point read of immutable bytes by digest, once a fresh read of the same request has shown them present. A
    /// replica's miss is asked again of the primary.
    ///
    /// Never for presence and never for a storage key: it may answer from before a deletion. Cancel safe as
    /// [`Router::read_fresh`].
    pub async fn read_any<R: PointRead>(
        &self,
        key: R::Key,
    ) -> Result<Served<Option<R::Row>>, Error> {
        self.point_read::<R>(Need::Any, key).await
    }

    /// Someone to ask for a list or report that sees everything acknowledged before.
    ///
    /// Cancel safe: whoever goes away leaves the queue.
    pub async fn read_list(&self) -> Result<Reader, Error> {
        let primary = self.outside(Share::Lists).await?;
        self.count_read(Need::List, PrimaryReason::NoReplica);
        Ok(Reader::Primary(primary))
    }

    /// The primary, for reads that must come from it: of what this process is about to change, or of the database's
    /// own state. Takes its connection from the housekeeping share. Cancel safe as [`Router::read_list`].
    pub async fn read_primary(&self) -> Result<Primary, Error> {
        self.outside(Share::Control).await
    }

    /// Begins a transaction for a request.
    ///
    /// Cancel safe: whoever goes away leaves the queue, or a transaction that is rolled back.
    pub async fn begin(&self) -> Result<Tx, Error> {
        let lease = self.servers.primary.acquire(Share::Writes).await?;
        Tx::begin(lease, &self.servers.begin_write).await
    }

    /// Begins a transaction for a job: fewer connections, more time. Cancel safe as [`Router::begin`].
    pub async fn begin_background(&self) -> Result<Tx, Error> {
        let lease = self.servers.primary.acquire(Share::Background).await?;
        Tx::begin(lease, &self.servers.begin_background).await
    }

    /// Waits until every server that may serve a read would show this change, so that the client may be told of it.
    ///
    /// Returns at once while no replica is registered: everything is then read from where it was written. Cancel safe:
    /// the change stands; nobody has been told.
    #[expect(
        clippy::unused_async,
        reason = "waits for the replicas once there are any; callers await it from the first day"
    )]
    pub async fn acknowledge(&self, committed: Committed) -> Result<(), Error> {
        drop(committed);
        Ok(())
    }

    /// Asks the primary for a sign of life. Cancel safe.
    pub async fn ping_primary(&self) -> Result<(), Error> {
        let lease = self.servers.primary.acquire(Share::Control).await?;
        lease.command("ping", "").await
    }

    /// Whether the last attempt to connect to the primary succeeded, or none was needed. Asks nobody.
    pub fn primary_reachable(&self) -> bool {
        self.servers.primary.is_reachable()
    }

    /// Sends everybody away who waits, closes the connections, and returns when those still lent have come back.
    ///
    /// Cancel safe: closing goes on; only the waiting ends.
    pub async fn close(&self) {
        self.servers.primary.close().await;
    }

    async fn point_read<R: PointRead>(
        &self,
        need: Need,
        key: R::Key,
    ) -> Result<Served<Option<R::Row>>, Error> {
        let value = match self.ask::<R>(&key).await {
            // The server hung up in the middle. Nothing was decided, so another connection may be asked, once; one that
            // hung has cost the request its time already.
            Err(error @ Error::Statement { .. }) if error.is_connection_lost() => {
                tracing::debug!(
                    statement = R::STATEMENT.name,
                    "asking again on another connection"
                );
                self.ask::<R>(&key).await?
            }
            other => other?,
        };
        let reason = PrimaryReason::NoReplica;
        self.count_read(need, reason);
        let by = ServedBy::Primary { reason };
        Ok(Served { value, by })
    }

    async fn ask<R: PointRead>(&self, key: &R::Key) -> Result<Option<R::Row>, Error> {
        let lease = self.servers.primary.acquire(Share::Lanes).await?;
        let answers = point_read::run::<R>(&lease, &[key]).await?;
        Ok(answers.into_iter().next().flatten())
    }

    async fn outside(&self, share: Share) -> Result<Primary, Error> {
        let lease = self.servers.primary.acquire(share).await?;
        Ok(Primary(Outside::new(lease)))
    }

    fn count_read(&self, need: Need, reason: PrimaryReason) {
        let labels = ReadLabels {
            need,
            server: Role::Primary,
            reason,
        };
        self.servers.metrics.reads.get_or_create(&labels).inc();
    }
}

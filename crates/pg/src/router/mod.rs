//! Who answers: the one place that knows the servers.
//!
//! The verbs say the need. Which server meets it, on which connection and behind which proof of freshness, is decided
//! here and may change; each answer says who served it and why, and a counter keeps it.
//!
//! | module | holds |
//! | --- | --- |
//! | `pick` | which replica a read is tried on, or why none |
//! | `replica` | one replica, and the guard of its answers |
//! | `sight` | what is made of a replica's answers |
//! | `signpost` | whether an address leads to one server |
//! | `point` | point reads |
//! | `list` | lists and reports |
//! | `served` | who served a read, and why |
//! | `acknowledge` | the barrier that writes wait at |
//! | `poller`, `watch`, `membership` | the tasks that keep what is known fresh |
//! | `knowledge` | what is known |
//! | `mode` | how freshness is proven |
//! | `status` | all of it, for people |

mod acknowledge;
mod knowledge;
mod list;
mod membership;
mod mode;
mod pick;
mod point;
mod poller;
pub(crate) mod replica;
mod served;
pub(crate) mod sight;
mod signpost;
mod status;
mod watch;

use std::{sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::Instant;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use uuid::Uuid;

pub(crate) use self::{knowledge::Knowledge, mode::Freshness};
pub use self::{
    list::Reader,
    mode::FreshnessMode,
    served::{Age, Served, ServedBy},
    status::{ReadStatus, ReplicaContact, ReplicaStatus, Status},
};
use self::{
    poller::Poller,
    replica::{Replica, ReplicaGuard},
    watch::Waiters,
};
use crate::{
    conn::{Outside, Primary},
    connect::Surroundings,
    dashboards::TargetLabels,
    endpoint::Endpoint,
    error::{DialError, Error},
    freshness::clock::{BootClock, Clock},
    identify::Cluster,
    lane::{Lanes, primary::PrimaryGuard},
    metrics::{Metrics, Need, PrimaryReason, ReadLabels, Role, Share},
    point_read::PointRead,
    policy::{AcquirePolicy, FloorPolicy, Policy, Shares},
    pool::Pool,
    tx::{Committed, Tx},
};

/// The way to the database. Cheap to clone; all clones share the connections.
#[derive(Debug, Clone)]
pub struct Router {
    pub(crate) servers: Arc<Servers>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    #[expect(dead_code, reason = "ends the tasks when the last clone is dropped")]
    end: Arc<DropGuard>,
}

/// Everything behind the verbs, shared with the tasks.
#[derive(Debug)]
pub(crate) struct Servers {
    primary: PrimaryServer,
    pub(crate) replicas: Vec<Arc<Replica>>,
    pub(crate) knowledge: Arc<Knowledge>,
    poller: Arc<Poller>,
    waiters: Arc<Waiters>,
    mode: Arc<dyn Freshness>,
    floors: FloorPolicy,
    acquire: AcquirePolicy,
    process: Uuid,
    metrics: Metrics,
    begin_write: String,
    begin_background: String,
    begin_control: String,
}

/// The primary's connections, and the lanes over them.
#[derive(Debug)]
struct PrimaryServer {
    /// Who we log in as.
    role: Option<String>,
    pool: Arc<Pool>,
    lanes: Lanes<PrimaryGuard>,
}

/// What a transaction needs of the protocol.
#[derive(Debug, Clone)]
pub(crate) struct Protocol {
    pub(crate) knowledge: Arc<Knowledge>,
    pub(crate) mode: Arc<dyn Freshness>,
}

impl Router {
    /// Prepares the connections; makes none. The first request does.
    ///
    /// `seed` decides every random choice (jitter of ages and of back-off, the name of the process): a fleet needs
    /// different seeds, a test the same. Must be called inside a tokio runtime, where its tasks run until
    /// [`Router::close`] or until the last clone is dropped.
    pub fn connect(
        policy: Policy,
        primary: Endpoint,
        replicas: Vec<Endpoint>,
        metrics: Metrics,
        seed: u64,
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let process = uuid::Builder::from_random_bytes(rng.random()).into_uuid();
        let clock: Arc<dyn Clock> = Arc::new(BootClock);
        let knowledge = Arc::new(Knowledge::new(Arc::clone(&clock)));
        let surroundings = Surroundings {
            knowledge: Arc::clone(&knowledge),
            cluster: Arc::new(Cluster::default()),
            process,
        };
        let mode: Arc<dyn Freshness> = policy.floors.mode.of_process(process).into();
        let floors = policy.floors;
        let acquire = policy.acquire;
        let (begin_write, begin_background, begin_control) = (
            begin(&policy, policy.limits.write),
            begin(&policy, policy.limits.background),
            begin_control(&policy),
        );
        let role = primary.role();
        let pool = Arc::new(Pool::new(
            Role::Primary,
            primary,
            policy.clone(),
            surroundings.clone(),
            metrics.clone(),
            &mut rng,
        ));
        let poller = Arc::new(Poller::new(
            Arc::clone(&knowledge),
            Arc::clone(&pool),
            Arc::clone(&mode),
            floors,
        ));
        let replica_policy = Policy {
            shares: Shares::of_replica(policy.lanes.per_replica),
            pooler: false,
            ..policy
        };
        let replicas = replicas.into_iter().enumerate().map(|(index, endpoint)| {
            let name = endpoint.name();
            let pool = Arc::new(Pool::new(
                Role::Replica,
                endpoint,
                replica_policy.clone(),
                surroundings.clone(),
                metrics.clone(),
                &mut rng,
            ));
            let guard = Arc::new(ReplicaGuard::new(
                Arc::clone(&surroundings.cluster),
                Arc::clone(&knowledge),
                Arc::clone(&poller),
                Arc::clone(&mode),
                name.clone(),
                &floors,
            ));
            let lanes = Lanes::new(&pool, Arc::clone(&clock), Arc::clone(&guard));
            Arc::new(Replica::new(index, name, pool, lanes, guard))
        });
        let replicas = replicas.collect();
        let guard = Arc::new(PrimaryGuard::new(Arc::clone(&knowledge)));
        let servers = Arc::new(Servers {
            primary: PrimaryServer {
                role,
                lanes: Lanes::new(&pool, clock, guard),
                pool,
            },
            replicas,
            knowledge,
            poller,
            waiters: Arc::default(),
            mode,
            floors,
            acquire,
            process,
            metrics,
            begin_write,
            begin_background,
            begin_control,
        });
        let tasks = TaskTracker::new();
        let shutdown = CancellationToken::new();
        servers.start(&tasks, &shutdown, &mut rng);
        let end = Arc::new(shutdown.clone().drop_guard());
        Self {
            servers,
            tasks,
            shutdown,
            end,
        }
    }

    /// A point read that sees everything acknowledged before it began: tags, rights, presence, storage keys.
    ///
    /// Cancel safe: a key that was not sent is not asked.
    pub async fn read_fresh<R: PointRead>(
        &self,
        key: R::Key,
    ) -> Result<Served<Option<R::Row>>, Error> {
        self.servers.point_read::<R>(Need::Fresh, key).await
    }

    /// As [`Router::read_fresh`], from the primary whatever replicas there are: for what one of them has shown and the
    /// primary does not yet. A commit is sent to replicas before it is visible where it was made, by as long as the
    /// primary waits for a synchronous standby.
    ///
    /// Cancel safe as [`Router::read_fresh`].
    pub async fn read_fresh_from_primary<R: PointRead>(
        &self,
        key: R::Key,
    ) -> Result<Served<Option<R::Row>>, Error> {
        let deadline = Instant::now() + self.servers.acquire.read;
        self.servers
            .ask_primary::<R>(Need::Fresh, key, deadline, PrimaryReason::Asked)
            .await
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
        self.servers.point_read::<R>(Need::Any, key).await
    }

    /// Someone to ask for lists and reports that show everything acknowledged before each of them.
    pub fn read_list(&self) -> Reader {
        Reader::new(Arc::clone(&self.servers), Need::List)
    }

    /// As [`Router::read_list`], for lists of what need not have waited at the barrier ([`Router::acknowledge`]). That
    /// a list lacks an entry looks like no negative answer, and so the whole list is the primary's to say.
    pub fn read_list_of_new(&self) -> Reader {
        Reader::new(Arc::clone(&self.servers), Need::ListOfNew)
    }

    /// The primary, for reads that must come from it: of what this process is about to change, or of the database's
    /// own state. Takes its connection from the housekeeping share.
    ///
    /// Cancel safe: whoever goes away leaves the queue.
    pub async fn read_primary(&self) -> Result<Primary, Error> {
        let lease = self.servers.primary.pool.acquire(Share::Control).await?;
        Ok(Primary(Outside::new(lease)))
    }

    /// Begins a transaction for a request.
    ///
    /// Cancel safe: whoever goes away leaves the queue, or a transaction that is rolled back.
    pub async fn begin(&self) -> Result<Tx, Error> {
        let servers = &self.servers;
        servers.begin(Share::Writes, &servers.begin_write).await
    }

    /// Begins a transaction for a job: fewer connections, more time. Cancel safe as [`Router::begin`].
    pub async fn begin_background(&self) -> Result<Tx, Error> {
        let servers = &self.servers;
        servers
            .begin(Share::Background, &servers.begin_background)
            .await
    }

    /// Waits until every server that may serve a read would show this change, so that the client may be told of it;
    /// at the latest until no floor is left that does not cover it (`s_ms` of `portolan_pg.cluster_epoch`, 500 ms).
    ///
    /// Cancel safe: the change stands; nobody has been told.
    ///
    /// # Errors
    ///
    /// [`Error::EpochChanged`] where another primary has taken over since: the change may be lost.
    pub async fn acknowledge(&self, committed: Committed) -> Result<(), Error> {
        self.servers.acknowledge(committed).await
    }

    /// Asks the primary for a sign of life. Cancel safe: whoever goes away leaves the queue; a question that was sent is
    /// answered before the connection is lent again.
    pub async fn ping_primary(&self) -> Result<(), Error> {
        let lease = self.servers.primary.pool.acquire(Share::Control).await?;
        lease.command("ping", "").await
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.servers.primary.pool.shared.policy
    }

    /// Whether the last attempt to connect to the primary succeeded, or none was needed. Asks nobody.
    pub fn primary_reachable(&self) -> bool {
        self.servers.primary.pool.is_reachable()
    }

    /// Whether reads can go on without the primary: replicas may serve then, and one of them answered when last asked.
    pub fn outlives_primary(&self) -> bool {
        self.servers.floors.stale_after.is_some()
            && self
                .servers
                .replicas
                .iter()
                .any(|replica| replica.guard.sight.is_reachable())
    }

    /// As [`Router::close`], and leaves no row of this process behind. Only for one that has changed nothing: a counter
    /// that begins anew makes a replica look further than it is, and whoever waits for it would be told so.
    ///
    /// Cancel safe as [`Router::close`].
    pub async fn close_without_trace(&self) {
        self.shutdown.cancel();
        self.tasks.close();
        // No poll brings the row back.
        self.tasks.wait().await;
        if let Some(forget) = self.servers.mode.forget() {
            let forgotten = async {
                let lease = self.servers.primary.pool.acquire(Share::Control).await?;
                lease.query(forget, &self.servers.mode.parameters()).await
            };
            if let Err(error) = forgotten.await {
                tracing::debug!(%error, "the row of this process stays");
            }
        }
        self.close().await;
    }

    /// The role that `database.primary` logs in as, if it names one.
    pub fn primary_role(&self) -> Option<&str> {
        self.servers.primary.role.as_deref()
    }

    /// Sends everybody away who waits, closes the connections, and returns when those still lent have come back.
    ///
    /// Cancel safe: closing goes on; only the waiting ends.
    pub async fn close(&self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let replicas = self.servers.replicas.iter();
        futures::future::join_all(replicas.map(|replica| replica.pool.close())).await;
        self.servers.primary.pool.close().await;
    }
}

/// What a transaction whose statements may each take `limit` begins with.
fn begin(policy: &Policy, limit: Duration) -> String {
    // Behind a pooler nothing is set per session, and what the role has is meant for lanes.
    let durable = if policy.pooler {
        "; SET LOCAL synchronous_commit = on"
    } else {
        ""
    };
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {}; SET LOCAL plan_cache_mode = auto{durable}",
        limit.as_millis(),
    )
}

/// What a transaction of the protocol's own begins with: it may wait for nobody, since polls need the same connection.
/// Not for a standby that confirms commits either: what a failover loses of it belongs to an epoch that has ended.
fn begin_control(policy: &Policy) -> String {
    let limit = policy.limits.list;
    format!(
        "{}; SET LOCAL lock_timeout = {}; SET LOCAL synchronous_commit = local",
        begin(policy, limit),
        (limit / 2).as_millis(),
    )
}

impl Servers {
    /// Starts the tasks, where there are replicas to keep an eye on.
    fn start(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
        rng: &mut StdRng,
    ) {
        if self.replicas.is_empty() {
            return;
        }
        let mut fork = || StdRng::seed_from_u64(rng.random());
        tasks.spawn(Arc::clone(&self.poller).run(fork(), shutdown.clone()));
        tasks.spawn(membership::run(
            Arc::downgrade(self),
            self.floors,
            fork(),
            shutdown.clone(),
        ));
        for replica in &self.replicas {
            tasks.spawn(watch::run(
                Arc::clone(replica),
                Arc::clone(&self.waiters),
                self.floors,
                shutdown.clone(),
            ));
        }
    }

    /// Cancel safe as [`Router::begin`].
    async fn begin(&self, share: Share, begin: &str) -> Result<Tx, Error> {
        self.metrics
            .dashboards
            .targets
            .get_or_create(&TargetLabels::PRIMARY)
            .inc();
        let lease = self.primary.pool.acquire(share).await;
        let lease = lease.map_err(|error| self.blamed(error))?;
        let protocol = Protocol {
            knowledge: Arc::clone(&self.knowledge),
            mode: Arc::clone(&self.mode),
        };
        Tx::begin(lease, begin, protocol).await
    }

    /// Waits in vain are the load's fault, unless the primary is known to hang meanwhile.
    pub(crate) fn blamed(&self, error: Error) -> Error {
        // As long as a client is told to wait for an outage of which no more is known.
        const RETRY: Duration = Duration::from_secs(1);
        match (error, self.knowledge.primary_failing()) {
            (
                Error::DeadlineExceeded { waited, .. } | Error::WaitedInVain { waited, .. },
                Some(_),
            ) => Error::Unavailable {
                retry_after: RETRY,
                source: DialError::Slow { waited },
            },
            (error, _) => error,
        }
    }

    fn count_read(&self, need: Need, by: ServedBy) {
        self.metrics
            .reads
            .get_or_create(&ReadLabels::of(need, by))
            .inc();
        self.metrics
            .dashboards
            .targets
            .get_or_create(&TargetLabels::of(by))
            .inc();
    }
}

//! What the crate counts. Declared once; labels are enums or the names of statements, never anything a client chose.

use crate::dashboards::Dashboards;

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

mod labels;

pub(crate) use self::labels::*;
pub use self::labels::{CloseReason, DialOutcome, PrimaryReason, Role, Share};

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The crate's metrics. Cheap to clone: all clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) open: Family<ServerLabel, Gauge>,
    pub(crate) idle: Family<ServerLabel, Gauge>,
    pub(crate) in_use: Family<ShareLabels, Gauge>,
    pub(crate) waiting: Family<ShareLabels, Gauge>,
    pub(crate) acquired: Family<AcquireLabels, Counter>,
    pub(crate) acquire_seconds: Histograms<ShareLabels>,
    pub(crate) dials: Family<DialLabels, Counter>,
    pub(crate) dialling: Family<ServerLabel, Gauge>,
    pub(crate) dial_seconds: Histograms<ServerLabel>,
    pub(crate) closed: Family<CloseLabels, Counter>,
    pub(crate) age_seconds: Histograms<CloseLabels>,
    pub(crate) statement_seconds: Histograms<StatementLabels>,
    pub(crate) statement_failures: Family<StatementLabels, Counter>,
    pub(crate) transactions: Family<TransactionLabels, Counter>,
    pub(crate) reads: Family<ReadLabels, Counter>,
    pub(crate) polls: Family<PollLabels, Counter>,
    pub(crate) barriers: Histograms<BarrierLabels>,
    pub(crate) members: Family<MemberLabels, Counter>,
    pub(crate) keys_waiting: Family<ServerLabel, Gauge>,
    pub(crate) keys_shared: Family<StatementLabels, Counter>,
    pub(crate) lane_wait_seconds: Histograms<ServerLabel>,
    pub(crate) cycles: Family<LaneLabels, Counter>,
    pub(crate) batch_keys: Histograms<StatementLabels>,
    pub(crate) batch_splits: Family<StatementLabels, Counter>,
    pub(crate) dashboards: Dashboards,
}

/// 0.25 ms, doubling to 8 s: a point read on a quiet server takes 0.1 to 1 ms, the longest limit of a request is 5 s.
pub(crate) fn of_statements() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

/// 1 key, doubling to 256, which is what a batch may hold.
fn of_batches() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 9))
}

/// 1 s, four times as much each, to an hour and a quarter: the lifetime is half an hour.
fn of_ages() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 4.0, 7))
}

impl Metrics {
    /// Makes the metrics and puts them into `registry`, under `portolan_pg_…` if the registry has the prefix
    /// `portolan`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unregistered();
        let pg = registry.sub_registry_with_prefix("pg");
        pg.register(
            "connections_open",
            "Connections open, in use or idle",
            metrics.open.clone(),
        );
        pg.register(
            "connections_idle",
            "Connections open and lent to nobody",
            metrics.idle.clone(),
        );
        pg.register(
            "connections_in_use",
            "Connections lent, by what for",
            metrics.in_use.clone(),
        );
        pg.register(
            "acquire_waiting",
            "Callers waiting for a connection",
            metrics.waiting.clone(),
        );
        pg.register(
            "acquires",
            "Waits for a connection, by how they ended",
            metrics.acquired.clone(),
        );
        pg.register_with_unit(
            "acquire",
            "Time until a connection was lent",
            Unit::Seconds,
            metrics.acquire_seconds.clone(),
        );
        pg.register(
            "dials",
            "Attempts to connect, by how they ended",
            metrics.dials.clone(),
        );
        pg.register(
            "dials_in_flight",
            "Attempts to connect under way",
            metrics.dialling.clone(),
        );
        pg.register_with_unit(
            "dial",
            "Time an attempt to connect took",
            Unit::Seconds,
            metrics.dial_seconds.clone(),
        );
        pg.register(
            "connections_closed",
            "Connections closed, by why",
            metrics.closed.clone(),
        );
        pg.register_with_unit(
            "connection_age",
            "Age of connections when closed, by why",
            Unit::Seconds,
            metrics.age_seconds.clone(),
        );
        pg.register_with_unit(
            "statement",
            "Time a statement took, by its name",
            Unit::Seconds,
            metrics.statement_seconds.clone(),
        );
        pg.register(
            "statement_failures",
            "Statements that failed, by their name",
            metrics.statement_failures.clone(),
        );
        pg.register(
            "transactions",
            "Transactions, by how they ended",
            metrics.transactions.clone(),
        );
        metrics.register_reads(pg);
        metrics
    }

    fn register_reads(&self, pg: &mut Registry) {
        pg.register(
            "reads",
            "Point reads, by what was asked for, who served them and why",
            self.reads.clone(),
        );
        pg.register(
            "floor_polls",
            "Polls of the primary for how far it is",
            self.polls.clone(),
        );
        pg.register_with_unit(
            "barrier",
            "Time writes waited until every replica showed them, by how that ended",
            Unit::Seconds,
            self.barriers.clone(),
        );
        pg.register(
            "replica_moves",
            "Changes of a replica's place in service made by this process",
            self.members.clone(),
        );
        pg.register(
            "keys_waiting",
            "Keys of point reads that have not been sent",
            self.keys_waiting.clone(),
        );
        pg.register(
            "keys_shared",
            "Point reads that were answered by the key of another, by statement",
            self.keys_shared.clone(),
        );
        pg.register_with_unit(
            "lane_wait",
            "Time until a key was sent",
            Unit::Seconds,
            self.lane_wait_seconds.clone(),
        );
        pg.register("cycles", "Flights of the lanes", self.cycles.clone());
        pg.register(
            "batch_keys",
            "Keys in a batch, by statement",
            self.batch_keys.clone(),
        );
        pg.register(
            "batch_splits",
            "Batches halved because their statement failed, by statement",
            self.batch_splits.clone(),
        );
    }

    /// Puts some of them into `registry` once more, under the names that dashboards of another registry ask for if its
    /// prefix is `registry_database`.
    pub fn register_for_dashboards(&self, registry: &mut Registry) {
        self.dashboards.register(registry);
    }

    /// Metrics that nobody will ask for: for commands that end by themselves.
    pub fn unregistered() -> Self {
        Self {
            open: Family::default(),
            idle: Family::default(),
            in_use: Family::default(),
            waiting: Family::default(),
            acquired: Family::default(),
            acquire_seconds: Family::new_with_constructor(of_statements),
            dials: Family::default(),
            dialling: Family::default(),
            dial_seconds: Family::new_with_constructor(of_statements),
            closed: Family::default(),
            age_seconds: Family::new_with_constructor(of_ages),
            statement_seconds: Family::new_with_constructor(of_statements),
            statement_failures: Family::default(),
            transactions: Family::default(),
            reads: Family::default(),
            polls: Family::default(),
            barriers: Family::new_with_constructor(of_statements),
            members: Family::default(),
            keys_waiting: Family::default(),
            keys_shared: Family::default(),
            lane_wait_seconds: Family::new_with_constructor(of_statements),
            cycles: Family::default(),
            batch_keys: Family::new_with_constructor(of_batches),
            batch_splits: Family::default(),
            dashboards: Dashboards::new(),
        }
    }

    /// Connections open now, in use or idle.
    pub fn open(&self, server: Role) -> i64 {
        self.open.get_or_create(&ServerLabel { server }).get()
    }

    /// Connections closed so far for this reason.
    pub fn closed(&self, server: Role, reason: CloseReason) -> u64 {
        self.closed
            .get_or_create(&CloseLabels { server, reason })
            .get()
    }

    /// Attempts to connect so far that ended like this.
    pub fn dials(&self, server: Role, outcome: DialOutcome) -> u64 {
        self.dials
            .get_or_create(&DialLabels { server, outcome })
            .get()
    }

    /// Callers waiting for a connection of `share` now.
    pub fn waiting(&self, server: Role, share: Share) -> i64 {
        self.waiting
            .get_or_create(&ShareLabels { server, share })
            .get()
    }

    /// Connections lent to `share` now.
    pub fn in_use(&self, server: Role, share: Share) -> i64 {
        self.in_use
            .get_or_create(&ShareLabels { server, share })
            .get()
    }

    /// Connections open and lent to nobody now.
    pub fn idle(&self, server: Role) -> i64 {
        self.idle.get_or_create(&ServerLabel { server }).get()
    }
}

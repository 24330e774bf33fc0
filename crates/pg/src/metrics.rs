//! What the crate counts. Declared once; labels are enums or the names of statements, never anything a client chose.

use std::fmt;

use crate::{dashboards::Dashboards, router::ServedBy};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Defines an enum whose variants are words on the metrics page and in messages alike.
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// The word for it.
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder) -> fmt::Result {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

words! {
    /// Which kind of server a connection leads to.
    pub Role {
        /// The one that takes writes.
        Primary = "primary",
        /// A standby that serves reads.
        Replica = "replica",
    }
}

words! {
    /// What a connection is borrowed for.
    pub Share {
        /// Batched point reads.
        Lanes = "lanes",
        /// Those whose answers are too large for the first lane.
        SecondLane = "second_lane",
        /// Lists and reports; they borrow what the second lane uses, one at a time.
        Lists = "lists",
        /// Transactions of requests.
        Writes = "writes",
        /// Transactions of jobs.
        Background = "background",
        /// The process's own housekeeping.
        Control = "control",
    }
}

words! {
    /// Why a connection was closed.
    pub CloseReason {
        /// Nobody used it for [`crate::AgePolicy::idle`].
        Idle = "idle",
        /// It was older than [`crate::AgePolicy::lifetime`].
        Lifetime = "lifetime",
        /// The server, or something between, closed it.
        Lost = "lost",
        /// It did not answer before it was to be lent again.
        Unanswered = "unanswered",
        /// What a caller left behind on it did not end in time.
        Stuck = "stuck",
        /// It leads to another server than it should.
        WrongServer = "wrong_server",
        /// A new one shall show whether the address leads to the same server again.
        MadeAnew = "made_anew",
        /// The process is shutting down.
        Shutdown = "shutdown",
    }
}

impl CloseReason {
    /// Whether a line closed for this reason can carry a last message.
    pub(crate) fn says_goodbye(self) -> bool {
        match self {
            Self::Idle | Self::Lifetime | Self::WrongServer | Self::MadeAnew | Self::Shutdown => {
                true
            }
            Self::Lost | Self::Unanswered | Self::Stuck => false,
        }
    }
}

words! {
    /// How an attempt to connect ended.
    pub DialOutcome {
        /// A connection.
        Connected = "connected",
        /// Address, TCP, TLS or protocol.
        Unreachable = "unreachable",
        /// It took too long.
        TimedOut = "timed_out",
        /// The server has no connection left (53300).
        TooMany = "too_many",
        /// The server is starting or stopping (57P01 to 57P03).
        NotServing = "not_serving",
        /// Wrong password, role or database.
        RefusedForGood = "refused_for_good",
        /// A standby where the primary should be, or the other way round, or a server of another cluster.
        WrongServer = "wrong_server",
    }
}

words! {
    /// How the wait for a connection ended.
    pub(crate) AcquireOutcome {
        /// With a connection.
        Acquired = "acquired",
        /// Too many were waiting.
        QueueFull = "queue_full",
        /// Too many were waiting to be served in time.
        WaitedInVain = "waited_in_vain",
        /// None came free in time.
        DeadlineExceeded = "deadline_exceeded",
        /// None can be made.
        Unavailable = "unavailable",
        /// The router was closed.
        Closed = "closed",
        /// The caller went away.
        Abandoned = "abandoned",
    }
}

words! {
    /// How a transaction ended.
    pub(crate) TransactionOutcome {
        /// Committed.
        Committed = "committed",
        /// Rolled back on purpose.
        RolledBack = "rolled_back",
        /// Dropped while open, and so rolled back.
        Dropped = "dropped",
        /// COMMIT, or something before it, failed.
        Failed = "failed",
    }
}

words! {
    /// What a point read or list needed.
    pub(crate) Need {
        /// Everything acknowledged before.
        Fresh = "fresh",
        /// Immutable bytes.
        Any = "any",
        /// A list that shows everything acknowledged before.
        List = "list",
        /// The same, of what did not wait at the barrier.
        ListOfNew = "list_of_new",
    }
}

words! {
    /// Why the primary served a read.
    pub PrimaryReason {
        /// Only the primary is sure to have what was asked for.
        Asked = "asked",
        /// There is no replica.
        NoReplica = "no_replica",
        /// It was the first read after a pause: no floor was in lease.
        Idle = "idle",
        /// The primary did not say in time how far it is.
        NoFloor = "no_floor",
        /// The replica is not in service, or its connection is too young.
        NotMember = "not_member",
        /// Several addresses lead to servers that report one name.
        Ambiguous = "ambiguous",
        /// The replica is not far enough.
        Behind = "not_up_to_date",
        /// The replica shows another history.
        OtherEpoch = "other_epoch",
        /// The replica is none any more.
        NotInRecovery = "not_in_recovery",
        /// The address leads to several servers.
        SeveralServers = "several_servers",
        /// The replica did not answer when last asked.
        ReplicaUnreachable = "replica_unreachable",
        /// The replica failed to answer.
        ReplicaFailed = "error",
        /// The replica ended the statement, because of what it had to replay or because it took too long.
        RecoveryConflict = "recovery_conflict",
        /// The replica does not have it; only the primary may say that it is not there.
        Absent = "absent",
    }
}

words! {
    /// How a poll of the primary ended.
    pub(crate) PollOutcome {
        /// With a floor.
        Floor = "floor",
        /// Without.
        Failed = "failed",
    }
}

words! {
    /// How a write passed the acknowledgement barrier.
    pub(crate) BarrierOutcome {
        /// Without waiting.
        AtOnce = "at_once",
        /// Every replica showed it.
        Observed = "observed",
        /// No floor was left that did not cover it.
        Timer = "timer",
        /// It did not: another primary has taken over.
        PerhapsLost = "perhaps_lost",
    }
}

words! {
    /// What became of a replica's place in service.
    pub(crate) MemberEvent {
        /// It was put into service for the first time.
        Registered = "registered",
        /// It is being taken out of service.
        Draining = "draining",
        /// A drain whose process has died was taken over.
        Adopted = "adopted",
        /// It is out of service.
        Out = "out",
        /// It is in service again.
        Returned = "returned",
    }
}

words! {
    /// Which of an endpoint's lanes.
    pub(crate) LaneName {
        /// The one for small answers.
        First = "first",
        /// The one for large answers, which helps the first.
        Second = "second",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LaneLabels {
    pub(crate) server: Role,
    pub(crate) lane: LaneName,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ServerLabel {
    pub(crate) server: Role,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ShareLabels {
    pub(crate) server: Role,
    pub(crate) share: Share,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AcquireLabels {
    pub(crate) server: Role,
    pub(crate) share: Share,
    pub(crate) outcome: AcquireOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CloseLabels {
    pub(crate) server: Role,
    pub(crate) reason: CloseReason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DialLabels {
    pub(crate) server: Role,
    pub(crate) outcome: DialOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StatementLabels {
    pub(crate) server: Role,
    pub(crate) statement: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TransactionLabels {
    pub(crate) outcome: TransactionOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReadLabels {
    pub(crate) need: Need,
    pub(crate) server: Role,
    pub(crate) reason: &'static str,
}

impl ReadLabels {
    pub(crate) fn of(need: Need, by: ServedBy) -> Self {
        let (server, reason) = match by {
            ServedBy::Primary { reason } => (Role::Primary, reason.as_str()),
            ServedBy::Replica => (Role::Replica, "fresh"),
            ServedBy::Stale { .. } => (Role::Replica, "stale"),
        };
        Self {
            need,
            server,
            reason,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PollLabels {
    pub(crate) outcome: PollOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct BarrierLabels {
    pub(crate) outcome: BarrierOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct MemberLabels {
    pub(crate) event: MemberEvent,
}

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

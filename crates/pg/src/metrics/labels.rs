//! The words on the metrics page, and the sets of them that a metric is kept by.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::router::ServedBy;

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

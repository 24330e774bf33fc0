//! What the model remembers. Everything is small and copied: a run has hundreds of thousands of these.

use crate::log::Log;

/// A server's row, as the primary has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    Serving,
    /// By the drain with this token.
    Draining(u8),
    Out,
}

/// The whole of it: the servers, the processes, and what has been used up of the run's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The history of the first primary, and that of the replica which took over.
    pub(crate) logs: [Log; 2],
    pub(crate) replicas: [Replica; 2],
    /// Whether replica 0 is the primary now. The old one answers nothing any more (A4).
    pub(crate) failed_over: bool,
    pub(crate) writers: [Writer; 2],
    pub(crate) drains: [Option<Drain>; 2],
    pub(crate) reader: Reader,
    pub(crate) clocks: Clocks,
    /// Versions that were acknowledged, as a set of bits.
    pub(crate) acknowledged: u8,
    /// What a read returned, and what it should have seen: the end of a run.
    pub(crate) stale: Option<Stale>,
    pub(crate) used: Used,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stale {
    pub(crate) returned: u8,
    pub(crate) acknowledged: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Replica {
    /// Which of the logs it follows.
    pub(crate) history: u8,
    /// How many of its records it has replayed.
    pub(crate) replayed: u8,
}

/// Readings, not rates: `writers` is the clock of all writers and drainers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Clocks {
    pub(crate) writers: u8,
    pub(crate) reader: u8,
    /// Ticks of both since the writers' clock last ran ahead; 2 is enough for it to do so again.
    pub(crate) steady: u8,
}

/// A process that writes, one write at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Writer {
    pub(crate) phase: Phase,
    /// The epoch that this process knows, and since when.
    pub(crate) epoch: u8,
    pub(crate) epoch_since: u8,
    pub(crate) observed: [Option<Seen>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Idle,
    /// Has asked before COMMIT what should be asked after it: only where that rule is broken.
    Asked(After),
    Committed {
        version: u8,
        at: u8,
    },
    /// At the barrier.
    Waiting {
        version: u8,
        at: u8,
        after: After,
    },
}

/// What the primary said after COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct After {
    pub(crate) mark: u8,
    pub(crate) epoch: u8,
    /// A set of bits.
    pub(crate) members: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    pub(crate) mark: u8,
    pub(crate) epoch: u8,
    pub(crate) in_recovery: bool,
}

/// A drain that some process has begun or adopted, and must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Drain {
    pub(crate) replica: u8,
    pub(crate) token: u8,
    pub(crate) since: u8,
}

/// A process that reads, one batch at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Reader {
    pub(crate) connections: [Connection; 2],
    pub(crate) poll: Option<Poll>,
    /// The older one first.
    pub(crate) floors: [Option<Lease>; 2],
    pub(crate) batch: Option<Batch>,
    /// The last answer and when it was given: only where a cache breaks the rules.
    pub(crate) cache: Option<(u8, u8)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Connection {
    None,
    Dialling { began: u8 },
    Open { opened_at: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Poll {
    pub(crate) sent_at: u8,
    /// What the primary said, on its way.
    pub(crate) answer: Option<After>,
}

/// A floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    pub(crate) sent_at: u8,
    pub(crate) said: After,
    /// A batch was waiting when it came: matters only where such a batch may forget the lease's age.
    pub(crate) awaited: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Batch {
    /// What had been acknowledged when its requests arrived, as a set of bits.
    pub(crate) owed: u8,
    /// When it was closed.
    pub(crate) closed_at: u8,
    pub(crate) stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Open,
    Closed,
    /// A floor was chosen; the position is known, the query is next.
    Proven {
        floor: Lease,
        replica: u8,
        mark: u8,
        in_recovery: bool,
    },
    /// The query has run, the position comes after it: only where that rule is broken.
    Queried {
        floor: Lease,
        replica: u8,
        version: u8,
        epoch: u8,
    },
    /// Accepted, and not handed out yet.
    Accepted {
        version: u8,
    },
}

/// Counts against the limits of a configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Used {
    pub(crate) ticks: u8,
    pub(crate) noise: u8,
    pub(crate) writes: u8,
    pub(crate) retries: u8,
    pub(crate) polls: u8,
    pub(crate) reads: u8,
    pub(crate) restarts: u8,
    pub(crate) drains: u8,
    pub(crate) adoptions: u8,
    pub(crate) returns: u8,
}

impl Writer {
    /// As it is at first, having known the first epoch for long.
    pub(crate) const NEW: Self = Self {
        phase: Phase::Idle,
        epoch: 0,
        epoch_since: 0,
        observed: [None; 2],
    };
}

impl State {
    /// The history that the primary writes.
    pub(crate) fn current(&self) -> usize {
        usize::from(self.failed_over)
    }

    pub(crate) fn log(&self) -> &Log {
        &self.logs[self.current()]
    }

    pub(crate) fn log_mut(&mut self) -> &mut Log {
        &mut self.logs[usize::from(self.failed_over)]
    }

    /// What `replica` follows, and how far what it shows goes.
    pub(crate) fn shown_by(&self, replica: u8) -> (&Log, u8) {
        if self.is_primary(replica) {
            return (self.log(), self.log().length());
        }
        let replica = &self.replicas[usize::from(replica)];
        (&self.logs[usize::from(replica.history)], replica.replayed)
    }

    pub(crate) fn is_primary(&self, replica: u8) -> bool {
        self.failed_over && replica == 0
    }

    /// What a connect hook compares: the epoch belongs to this timeline.
    pub(crate) fn is_same_history(&self) -> bool {
        usize::from(self.log().epoch(self.log().length())) == self.current()
    }

    /// The newest version that was acknowledged among `owed` and that the failover has not taken: durability over a
    /// failover is not what floor leases are for.
    pub(crate) fn newest_of(&self, owed: u8) -> u8 {
        let surviving = owed & self.log().versions();
        u8::try_from(surviving.checked_ilog2().unwrap_or(0)).expect("a byte has eight bits")
    }
}

//! Every knob of the pool, with what it does under load.
//!
//! The defaults are the ones Portolan is designed around; a field changes one of them. Nothing here reads a file or
//! the environment: the server's configuration does, and fills this in.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use crate::{error::Error, metrics::Share, router::FreshnessMode};

/// How the names of our sessions begin.
pub(crate) const APPLICATION_PREFIX: &str = "portolan/";

/// How a process uses one Postgres server.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Shown in `pg_stat_activity`; `portolan/<roles>`, so that an operator can count the sessions of a fleet.
    pub application_name: String,
    /// Whether a transaction pooler (pgbouncer) is between us and the server. Then statements are unnamed, nothing is
    /// set per session, and the settings of the role (`ALTER ROLE … SET`) take the place of those in [`StatementLimits`]
    /// for reads outside a transaction.
    pub pooler: bool,
    /// How many connections there may be, and what for.
    pub shares: Shares,
    /// How long, and how many, may wait for a connection.
    pub acquire: AcquirePolicy,
    /// How point reads are gathered.
    pub lanes: LanePolicy,
    /// How long a connection may live.
    pub age: AgePolicy,
    /// How connections are made.
    pub dial: DialPolicy,
    /// How long the server may work on one statement.
    pub limits: StatementLimits,
    /// How replicas are kept an eye on.
    pub floors: FloorPolicy,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            application_name: "portolan".to_owned(),
            pooler: false,
            shares: Shares::default(),
            acquire: AcquirePolicy::default(),
            lanes: LanePolicy::default(),
            age: AgePolicy::default(),
            dial: DialPolicy::default(),
            limits: StatementLimits::default(),
            floors: FloorPolicy::default(),
        }
    }
}

impl Policy {
    /// Names the sessions after the roles of the process: `portolan/registry,api`.
    #[must_use]
    pub fn with_roles(mut self, roles: &str) -> Self {
        self.application_name = format!("{APPLICATION_PREFIX}{roles}");
        self
    }

    /// Sets the most connections this process may hold to the primary.
    ///
    /// # Errors
    ///
    /// [`Error::TooFewConnections`] below four: each kind of work needs one that another kind cannot take.
    pub fn with_max(mut self, max: usize) -> Result<Self, Error> {
        self.shares = Shares::of(max)?;
        Ok(self)
    }

    /// Bounds the lanes to each server, the primary included; what it saves of the primary's connections goes to writes.
    #[must_use]
    pub fn with_lanes(mut self, most: NonZeroUsize) -> Self {
        let most = most.get();
        let saved = self.shares.lanes.saturating_sub(most);
        self.shares.lanes -= saved;
        self.shares.writes += saved;
        self.lanes.per_replica = self.lanes.per_replica.min(most);
        self
    }

    /// Says that a transaction pooler is in between.
    #[must_use]
    pub fn with_pooler(mut self, pooler: bool) -> Self {
        self.pooler = pooler;
        self
    }

    /// Adapts the dialling back-off to the size of the fleet.
    ///
    /// Cap and base grow by the same factor for every fifty processes, so that after an outage 50 processes are back
    /// within two seconds, and 5,000 make about a hundred attempts a second together, not five thousand.
    #[must_use]
    pub fn with_processes(mut self, processes: NonZeroU32) -> Self {
        const ATTEMPTS_A_SECOND: u32 = 50;
        let factor =
            f64::from(processes.get().max(ATTEMPTS_A_SECOND)) / f64::from(ATTEMPTS_A_SECOND);
        for wait in [
            &mut self.dial.backoff_base,
            &mut self.dial.backoff_cap,
            &mut self.dial.refused_backoff,
        ] {
            *wait = wait.mul_f64(factor);
        }
        self
    }
}

/// The connections to the primary, by what they are for. A kind of work never takes a connection of another kind, so
/// a flood of one cannot stop the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Batched point reads. Lists and reports borrow one of these, and never the last one (unless there is only one).
    pub lanes: usize,
    /// Transactions of requests.
    pub writes: usize,
    /// Transactions of jobs.
    pub background: usize,
    /// The process's own housekeeping: floors, membership, keys, readiness.
    pub control: usize,
}

impl Default for Shares {
    /// Eight: two lanes (a second gained nothing on two cores, but carries what is too large for the first), four
    /// writers, one job at a time, one for housekeeping.
    fn default() -> Self {
        Self {
            lanes: 2,
            writes: 4,
            background: 1,
            control: 1,
        }
    }
}

impl Shares {
    /// To a replica: lanes and nothing else. Lists use the last.
    pub(crate) fn of_replica(lanes: usize) -> Self {
        Self {
            lanes,
            writes: 0,
            background: 0,
            control: 0,
        }
    }

    /// Divides `max` connections: one for jobs, one for housekeeping, two lanes once there are six, the rest writes.
    ///
    /// # Errors
    ///
    /// [`Error::TooFewConnections`] below four.
    pub fn of(max: usize) -> Result<Self, Error> {
        const FOR_TWO_LANES: usize = 6;
        const LEAST: usize = 4;
        if max < LEAST {
            return Err(Error::TooFewConnections { max, least: LEAST });
        }
        let lanes = if max >= FOR_TWO_LANES { 2 } else { 1 };
        Ok(Self {
            lanes,
            writes: max - lanes - 2,
            background: 1,
            control: 1,
        })
    }

    /// The most connections there will ever be.
    pub fn total(&self) -> usize {
        self.lanes + self.writes + self.background + self.control
    }
}

/// How a caller waits for a connection.
#[derive(Debug, Clone, Copy)]
pub struct AcquirePolicy {
    /// Longest wait of a read. A read that waited longer than this is better answered "later": the client's own
    /// retry is cheaper than a queue. Default 250 ms.
    pub read: Duration,
    /// Longest wait of a write; longer, because the client has usually uploaded something by then. Default 1 s.
    pub write: Duration,
    /// Longest wait of a job, which nobody is waiting for. Default 10 s.
    pub background: Duration,
    /// Callers that may wait for each connection of a share; the next one is refused at once. Too high, and callers
    /// wait for nothing during overload; too low, and a burst is refused that would have been served. Default 64: at
    /// the 4 to 16 ms of a transaction with its flush, the last of them is served just within [`AcquirePolicy::write`].
    pub waiters_per_connection: usize,
    /// Longest wait of a lane itself. Those whose keys it carries watch their own time. Default 5 s: as long as a dial
    /// may take.
    pub lane: Duration,
    /// When a queue counts as standing.
    pub queue: QueuePolicy,
}

impl AcquirePolicy {
    /// The longest wait for a connection of this share.
    pub(crate) fn patience(&self, share: Share) -> Duration {
        match share {
            Share::Lists | Share::Control => self.read,
            // Those who wait for a lane watch their own time; the lane itself waits as long as a dial may take.
            Share::Lanes | Share::SecondLane => self.lane,
            Share::Writes => self.write,
            Share::Background => self.background,
        }
    }

    /// When this share's queue counts as standing.
    pub(crate) fn queue(&self, share: Share) -> QueuePolicy {
        match share {
            // Jobs that wait longest are not those that nobody wants any more: theirs never stands.
            Share::Background => QueuePolicy {
                target: self.background,
                ..self.queue
            },
            Share::Lanes | Share::SecondLane | Share::Lists | Share::Writes | Share::Control => {
                self.queue
            }
        }
    }
}

/// `CoDel`'s two numbers: a queue stands when for a whole interval somebody in it has waited longer than the target.
///
/// If it is also longer than its callers' deadlines allow, the newest are served first, and those at its end are
/// refused as soon as it is clear that they wait in vain.
#[derive(Debug, Clone, Copy)]
pub struct QueuePolicy {
    /// A wait up to this says nothing. Too low, and the scheduler's own delays count; too high, and an overload is
    /// seen late. Default 5 ms: a few statements.
    pub target: Duration,
    /// How long the waits must stay above the target. Shorter than a usual burst takes to drain and it is mistaken for
    /// an overload; longer, and callers wait for nothing meanwhile. Default 100 ms: the two are those of the paper that
    /// introduced them, and fit a server that answers in milliseconds and callers who wait for a quarter of a second.
    pub interval: Duration,
}

impl Default for QueuePolicy {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(5),
            interval: Duration::from_millis(100),
        }
    }
}

impl Default for AcquirePolicy {
    fn default() -> Self {
        Self {
            read: Duration::from_millis(250),
            write: Duration::from_secs(1),
            background: Duration::from_secs(10),
            waiters_per_connection: 64,
            lane: Duration::from_secs(5),
            queue: QueuePolicy::default(),
        }
    }
}

/// How point reads gather, and how many may wait.
#[derive(Debug, Clone, Copy)]
pub struct LanePolicy {
    /// Lanes, and so connections, to each replica. Default 2: the second carries what is too large for the first, and
    /// lists. The primary's are in [`Shares::lanes`].
    pub per_replica: usize,
    /// Most keys in a batch. More would make the first of them wait for the last without saving the server much: at 256
    /// the round trip is a small part of the work. Default 256.
    pub batch_keys: usize,
    /// Most bytes that the answers of a batch are expected to have together; a key whose answer is larger goes alone, on
    /// the second lane. More would make small answers wait behind large ones: 1 MiB is about a millisecond of a line of
    /// 10 Gbit/s. Default 1 MiB.
    pub batch_answer_bytes: usize,
    /// Most keys that wait; the next one is refused at once. Default 4,096: at some tens of thousands of keys a second,
    /// what [`AcquirePolicy::read`] lets through.
    pub queue_keys: usize,
    /// Most bytes of keys that wait. Default 8 MiB: 2 KiB for each of the keys, several times the longest there are.
    pub queue_bytes: usize,
    /// Nobody may hold more than this part of the queue's keys. Default 4: one who asks for too much leaves three
    /// quarters to the others.
    pub party_divisor: NonZeroUsize,
    /// How long a cycle of the first lane may take before the second helps with small keys. Default 5 ms: ten times a
    /// round trip with its work in one region, so that it means a lock, a lost packet or a slow statement, not load;
    /// under load a second lane gains nothing.
    pub help_after: Duration,
    /// How often a batch whose statement failed may be halved. Default 8: 256 keys become single ones.
    pub split_levels: u8,
}

impl Default for LanePolicy {
    fn default() -> Self {
        const QUARTER: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");
        Self {
            per_replica: 2,
            batch_keys: 256,
            batch_answer_bytes: 1 << 20,
            queue_keys: 4_096,
            queue_bytes: 8 << 20,
            party_divisor: QUARTER,
            help_after: Duration::from_millis(5),
            split_levels: 8,
        }
    }
}

/// How long a connection lives.
#[derive(Debug, Clone, Copy)]
pub struct AgePolicy {
    /// A connection unused for this long is closed (less up to a fifth, by chance, so that a fleet that went quiet
    /// together does not hang up together). The pool hands out the one used last, so the others reach it. Default
    /// 45 s: with the reaper's period this leaves none 75 s after the last request.
    pub idle: Duration,
    /// A connection older than this is closed when it is next free, ± a fifth by chance: so that load spreads over
    /// servers added later, and a server's memory for the session is given back. Default 30 min.
    pub lifetime: Duration,
    /// How often connections are looked through. Default 5 s.
    pub reaper_period: Duration,
    /// A connection unused for longer than this is asked for an answer before it is lent. Shorter costs round trips,
    /// longer lends connections that a firewall has dropped. Default 10 s.
    pub verify_after: Duration,
    /// How long that answer may take. Default 250 ms: the acquire deadline of a read.
    pub verify_timeout: Duration,
    /// How long a connection may take to say goodbye before its socket is closed. Default 5 s.
    pub farewell: Duration,
}

impl Default for AgePolicy {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(45),
            lifetime: Duration::from_mins(30),
            reaper_period: Duration::from_secs(5),
            verify_after: Duration::from_secs(10),
            verify_timeout: Duration::from_millis(250),
            farewell: Duration::from_secs(5),
        }
    }
}

/// How connections are made.
#[derive(Debug, Clone, Copy)]
pub struct DialPolicy {
    /// Attempts in flight to one server. Each costs it a fork, a login and cold catalogue caches, just when it is
    /// busiest; two at a time still fill a pool of eight in four rounds. Default 2.
    pub at_once: usize,
    /// Longest attempt: address look-up, TCP, TLS, authentication and the first statement. Default 5 s.
    pub timeout: Duration,
    /// After `n` failures in a row the next attempt waits a random time up to this times 2ⁿ. Default 50 ms.
    pub backoff_base: Duration,
    /// The most that random time may be drawn from. See [`Policy::with_processes`]. Default 1 s.
    pub backoff_cap: Duration,
    /// Retries are this far apart, however short the random times: so an outage of ten seconds sees at most nine of
    /// them, and with the first attempts and a pool of eight to be filled again 20 in ten seconds are never passed. Not
    /// much more than the cap, which is about how long a server that is back waits for the first of us. Default 1.1 s.
    pub retry_period: Duration,
    /// Retries that need not keep that distance: most failures are a blip. Default 1.
    pub quick_retries: u32,
    /// After a refusal that lasts until somebody has changed something (a wrong password, no such database) the next
    /// attempt waits this long, less up to half. Soon enough to notice the change, and few enough lines in two logs.
    /// Default 10 s.
    pub refused_backoff: Duration,
    /// After this many failures in a row callers are refused at once until the next attempt is due. Default 3.
    pub refuse_after: u32,
    /// After an outage one connection is made in the first of these periods, two in the second, then four, and so on:
    /// the server has just begun to fill its caches, and every other process has found out as well. Default 250 ms: a
    /// pool of eight is whole again in three quarters of a second.
    pub slow_start: Duration,
}

impl Default for DialPolicy {
    fn default() -> Self {
        Self {
            at_once: 2,
            timeout: Duration::from_secs(5),
            backoff_base: Duration::from_millis(50),
            backoff_cap: Duration::from_secs(1),
            retry_period: Duration::from_millis(1_100),
            quick_retries: 1,
            refused_backoff: Duration::from_secs(10),
            refuse_after: 3,
            slow_start: Duration::from_millis(250),
        }
    }
}

/// `statement_timeout` by what the statement is for, and what else limits a session.
#[derive(Debug, Clone, Copy)]
pub struct StatementLimits {
    /// A batch of point reads. It is also the session's own setting. Default 500 ms.
    pub lane: Duration,
    /// A list or report. Default 2 s.
    pub list: Duration,
    /// Each statement of a request's transaction. Default 5 s.
    pub write: Duration,
    /// Each statement of a job's transaction. Default 30 s.
    pub background: Duration,
    /// How long a transaction may wait for its next statement before the server ends it. Default 10 s.
    pub idle_in_transaction: Duration,
}

impl Default for StatementLimits {
    fn default() -> Self {
        Self {
            lane: Duration::from_millis(500),
            list: Duration::from_secs(2),
            write: Duration::from_secs(5),
            background: Duration::from_secs(30),
            idle_in_transaction: Duration::from_secs(10),
        }
    }
}

/// How often servers are asked how far they are, and what follows from silence.
///
/// How long a floor may be used and a write waits is not here: it is one setting of the whole cluster, in
/// `portolan_pg.cluster_epoch`.
#[derive(Debug, Clone, Copy)]
pub struct FloorPolicy {
    /// How freshness is proven. Default [`FreshnessMode::Wal`].
    pub mode: FreshnessMode,
    /// The shortest and the longest pause between two polls of the primary, drawn anew each time. Several must fit
    /// into a lease, so that a replica that lags meets an older floor. Default 50 to 100 ms.
    pub period: (Duration, Duration),
    /// Polls go on for so long after a read. Default 1 s: an idle process asks nobody.
    pub active: Duration,
    /// The same while the primary does not answer. Default 60 s.
    pub active_in_trouble: Duration,
    /// The primary must have failed for so long until replicas serve without a proof; `None`: they never do. Shorter,
    /// and a restart of the primary makes answers stale; longer, and its loss is felt longer. Default 3 s.
    pub stale_after: Option<Duration>,
    /// How often a process that reads writes what it sees of the replicas. Default 2 s.
    pub vote_every: Duration,
    /// It does so for this long after a read. Default 10 s: as long as such a vote counts.
    pub vote_for: Duration,
    /// An address whose connections lead to two servers within so long leads to several, and is not read from until it
    /// has led to one for so long. Shorter, and whoever takes turns looks well between two votes; longer, and a name that
    /// moves from one replica to another rests for longer than a replica that was out. Default 10 s: five votes, each
    /// over a new connection.
    pub one_server: Duration,
    /// How long a replica may take to say how far it is, a dial included. Default 1 s.
    pub probe_timeout: Duration,
    /// Pauses between two such questions while a write waits: the first, doubling to the last. Default 1 and 20 ms.
    pub first_probe: Duration,
    /// See [`FloorPolicy::first_probe`].
    pub last_probe: Duration,
    /// The most of them in a second, to each replica. Default 50: what twenty processes ask then is a thousandth of
    /// what a replica can answer.
    pub probes_per_second: u32,
    /// As many may come at once after a rest. Default 5: a push is then seen as soon as it is there.
    pub probes_at_once: u32,
}

impl Default for FloorPolicy {
    fn default() -> Self {
        Self {
            mode: FreshnessMode::Wal,
            period: (Duration::from_millis(50), Duration::from_millis(100)),
            active: Duration::from_secs(1),
            active_in_trouble: Duration::from_mins(1),
            stale_after: Some(Duration::from_secs(3)),
            vote_every: Duration::from_secs(2),
            vote_for: Duration::from_secs(10),
            one_server: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(1),
            first_probe: Duration::from_millis(1),
            last_probe: Duration::from_millis(20),
            probes_per_second: 50,
            probes_at_once: 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_eight_connections() {
        assert_eq!(Shares::default().total(), 8);
        assert_eq!(Shares::of(8).unwrap(), Shares::default());
    }

    #[test]
    fn every_kind_of_work_has_a_connection_however_small_the_pool() {
        for max in 4..40 {
            let shares = Shares::of(max).unwrap();
            assert_eq!(shares.total(), max);
            for share in [
                shares.lanes,
                shares.writes,
                shares.background,
                shares.control,
            ] {
                assert!(share >= 1, "{shares:?}");
            }
        }
        assert!(matches!(
            Shares::of(3),
            Err(Error::TooFewConnections { max: 3, least: 4 })
        ));
    }

    #[test]
    fn a_lane_less_is_a_writer_more() {
        let one = Policy::default().with_lanes(NonZeroUsize::MIN);
        assert_eq!((one.shares.lanes, one.shares.writes), (1, 5));
        assert_eq!(one.shares.total(), Shares::default().total());
        assert_eq!(one.lanes.per_replica, 1);
        let many = Policy::default().with_lanes(NonZeroUsize::new(9).unwrap());
        assert_eq!(many.shares, Shares::default());
        assert_eq!(many.lanes.per_replica, 2);
    }

    #[test]
    fn the_back_off_cap_follows_the_number_of_processes() {
        let cap = |n| {
            Policy::default()
                .with_processes(NonZeroU32::new(n).unwrap())
                .dial
                .backoff_cap
        };
        assert_eq!(cap(1), Duration::from_secs(1));
        assert_eq!(cap(50), Duration::from_secs(1));
        assert_eq!(cap(5_000), Duration::from_secs(100));
    }
}

//! Every knob of the pool, with what it does under load.
//!
//! The defaults are the ones Portolan is designed around; a field changes one of them. Nothing here reads a file or
//! the environment: the server's configuration does, and fills this in.

use std::{num::NonZeroU32, time::Duration};

use crate::error::Error;

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
    /// How long a connection may live.
    pub age: AgePolicy,
    /// How connections are made.
    pub dial: DialPolicy,
    /// How long the server may work on one statement.
    pub limits: StatementLimits,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            application_name: "portolan".to_owned(),
            pooler: false,
            shares: Shares::default(),
            acquire: AcquirePolicy::default(),
            age: AgePolicy::default(),
            dial: DialPolicy::default(),
            limits: StatementLimits::default(),
        }
    }
}

impl Policy {
    /// Names the sessions after the roles of the process: `portolan/registry,api`.
    #[must_use]
    pub fn with_roles(mut self, roles: &str) -> Self {
        self.application_name = format!("portolan/{roles}");
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

    /// Says that a transaction pooler is in between.
    #[must_use]
    pub fn with_pooler(mut self, pooler: bool) -> Self {
        self.pooler = pooler;
        self
    }

    /// Adapts the dialling back-off to the size of the fleet.
    ///
    /// The cap grows by a second for every fifty processes, so that after an outage 50 processes are back within two
    /// seconds, and 5,000 do not make more than about fifty attempts a second together.
    #[must_use]
    pub fn with_processes(mut self, processes: NonZeroU32) -> Self {
        const ATTEMPTS_A_SECOND: u32 = 50;
        let cap = Duration::from_secs(1) * processes.get() / ATTEMPTS_A_SECOND;
        self.dial.backoff_cap = cap.max(Duration::from_secs(1));
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
    /// Keys that may wait for the lanes; the next one is refused at once. Default 4,096: at some tens of thousands of
    /// keys a second, what [`AcquirePolicy::read`] lets through.
    pub waiting_keys: usize,
}

impl Default for AcquirePolicy {
    fn default() -> Self {
        Self {
            read: Duration::from_millis(250),
            write: Duration::from_secs(1),
            background: Duration::from_secs(10),
            waiters_per_connection: 64,
            waiting_keys: 4_096,
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
    /// After this many failures in a row callers are refused at once until the next attempt is due. Default 3.
    pub refuse_after: u32,
}

impl Default for DialPolicy {
    fn default() -> Self {
        Self {
            at_once: 2,
            timeout: Duration::from_secs(5),
            backoff_base: Duration::from_millis(50),
            backoff_cap: Duration::from_secs(1),
            refuse_after: 3,
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

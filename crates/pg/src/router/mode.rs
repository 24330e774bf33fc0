//! How freshness is proven: three modes.
//!
//! | mode | the primary says | a replica proves | for |
//! | --- | --- | --- | --- |
//! | [`FreshnessMode::Wal`] | how far its log is flushed | how far it has replayed | Postgres |
//! | [`FreshnessMode::Beacon`] | the next value of a counter row | that it shows that value | Aurora, where positions are not told |
//! | [`FreshnessMode::ReadIndex`] | as the first, again for every batch | as the first | machines whose clocks cannot be trusted |

use std::fmt;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::{
    protocol::{FORGET_BEACON, NOW_BY_BEACON, NOW_BY_LOG, PROOF_BY_BEACON, PROOF_BY_LOG},
    statement::Statement,
};

/// Which of them a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FreshnessMode {
    /// Positions in the write-ahead log.
    #[default]
    Wal,
    /// A counter that each process keeps in a row of its own.
    Beacon,
    /// A poll of the primary for every batch: no clock is relied on, and no floor is used twice.
    ReadIndex,
}

impl fmt::Display for FreshnessMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wal => "wal",
            Self::Beacon => "beacon",
            Self::ReadIndex => "read_index",
        })
    }
}

/// What a mode asks of the servers.
pub(crate) trait Freshness: fmt::Debug + Send + Sync {
    /// The statement by which the primary says how far it is; after COMMIT, and as a poll.
    fn now(&self) -> &'static Statement;

    /// Its parameters.
    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)>;

    /// The statement by which a replica proves how far it is.
    fn proof(&self) -> &'static Statement;

    /// Whether a floor may be used for as long as its lease lasts; otherwise each batch asks for one of its own, which
    /// needs no member list, because no writer waits for it.
    fn keeps_floors(&self) -> bool;

    /// The statement that removes what [`Freshness::now`] has written for this process, with the same parameters.
    fn forget(&self) -> Option<&'static Statement> {
        None
    }
}

impl FreshnessMode {
    pub(crate) fn of_process(self, process: Uuid) -> Box<dyn Freshness> {
        match self {
            Self::Wal => Box::new(Log { keeps_floors: true }),
            Self::Beacon => Box::new(Beacon { slot: process }),
            Self::ReadIndex => Box::new(Log {
                keeps_floors: false,
            }),
        }
    }
}

/// Positions in the log, for [`FreshnessMode::Wal`] and [`FreshnessMode::ReadIndex`].
#[derive(Debug)]
struct Log {
    keeps_floors: bool,
}

impl Freshness for Log {
    fn now(&self) -> &'static Statement {
        &NOW_BY_LOG
    }

    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        Vec::new()
    }

    fn proof(&self) -> &'static Statement {
        &PROOF_BY_LOG
    }

    fn keeps_floors(&self) -> bool {
        self.keeps_floors
    }
}

/// The slot is never set back; and deleted only by a process that nobody has read or written through.
#[derive(Debug)]
struct Beacon {
    slot: Uuid,
}

impl Freshness for Beacon {
    fn now(&self) -> &'static Statement {
        &NOW_BY_BEACON
    }

    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![&self.slot]
    }

    fn proof(&self) -> &'static Statement {
        &PROOF_BY_BEACON
    }

    fn keeps_floors(&self) -> bool {
        true
    }

    fn forget(&self) -> Option<&'static Statement> {
        Some(&FORGET_BEACON)
    }
}

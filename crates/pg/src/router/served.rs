//! Who served a read, and why they.

use std::time::Duration;

use crate::metrics::PrimaryReason;

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
    /// A replica, while the primary is lost: it may miss what was acknowledged last.
    Stale {
        /// How old it may be.
        age: Age,
    },
}

/// How old an answer of a replica may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    /// It shows everything that was acknowledged before the last so much time.
    AtMost(Duration),
    /// Nobody can tell: this process has not heard of the primary for as long as the replica is late.
    Unknown,
}

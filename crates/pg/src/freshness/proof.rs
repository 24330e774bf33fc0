//! Whether an answer of a replica meets a floor.

use super::floor::{Epoch, Floor, Mark};

/// What a replica said right before, and within, the statement whose answer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    /// How far it had replayed, from a statement that ended *before* the query's snapshot was taken. In one statement
    /// the function would run after the snapshot, and prove nothing about it.
    pub(crate) mark: Mark,
    /// Whether it is a standby.
    pub(crate) in_recovery: bool,
    /// The epoch in the snapshot of the query itself.
    pub(crate) epoch: Epoch,
}

/// Why an answer does not meet its floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The replica has not come this far yet.
    Behind,
    /// It shows another history.
    OtherEpoch,
    /// It is no standby: promoted, or never one.
    NotInRecovery,
}

impl Floor {
    /// Holds an answer against this floor, and no other.
    pub(crate) fn judge(&self, proof: &Proof) -> Result<(), Refusal> {
        if !proof.in_recovery {
            Err(Refusal::NotInRecovery)
        } else if proof.epoch != self.epoch {
            Err(Refusal::OtherEpoch)
        } else if proof.mark < self.mark {
            Err(Refusal::Behind)
        } else {
            Ok(())
        }
    }
}

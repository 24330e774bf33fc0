//! What stands between the answers of a batch and those who asked.
//!
//! A lane sends batches and gets rows; whether the rows may be handed out is for the guard of its endpoint to say: on
//! the primary, that it still is the primary; on a replica, that it shows everything acknowledged before the batch
//! was closed.

use std::{fmt, future::Future, time::Duration};

use tokio::time::Instant;
use tokio_postgres::Row;

use crate::{
    error::Error,
    freshness::{clock::Moment, floor::Epoch},
    identify::Peer,
    metrics::PrimaryReason,
    router::ServedBy,
    statement::Statement,
};

/// What a statement said of the server it ran on, in its own snapshot: the columns that every point read ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether it is a standby.
    pub(crate) in_recovery: bool,
    /// Whether, if it is no standby, its timeline is the one that the epoch belongs to.
    pub(crate) same_history: bool,
    /// The epoch.
    pub(crate) epoch: Epoch,
}

/// What to do with an answer.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Hand it out.
    Accept(ServedBy),
    /// Throw it away, wait, and send the proof and the batch again.
    Again(Duration),
    /// Throw it away; whoever asked shall ask the primary.
    Elsewhere(PrimaryReason),
    /// Throw it away, and the connection with it: it does not lead where it should.
    Hangup,
}

/// Decides for one endpoint. One guard serves both of its lanes.
pub(crate) trait Guard: fmt::Debug + Send + Sync + 'static {
    /// What the answers of one cycle are held against.
    type Claim: Send + Sync;

    /// Called once in a cycle, when its batches have been closed (at `closed_at`, no earlier than any arrival) and a
    /// connection is at hand. `Err` sends those who asked to the primary. May wait for a poll, not past `deadline`.
    ///
    /// Cancel safe: holds nothing.
    fn claim(
        &self,
        closed_at: Moment,
        peer: &Peer,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Claim, PrimaryReason>> + Send;

    /// The statement that is pipelined right before the batches and ends before their snapshots are taken.
    fn proof(&self) -> Option<&'static Statement>;

    /// Judges the answers of the `attempt`-th try (from 0): `proof` is the row of [`Guard::proof`], `standing` that of
    /// each batch which must be fresh.
    ///
    /// # Errors
    ///
    /// If the proof's row cannot be decoded.
    fn judge(
        &self,
        claim: &Self::Claim,
        peer: &Peer,
        proof: Option<&Row>,
        standing: &[Standing],
        attempt: u32,
    ) -> Result<Verdict, Error>;

    /// A proof has come back, whatever becomes of the batch: how far a replica is. `standing` is that of a statement
    /// which ran after it on the same connection.
    fn observe(&self, peer: &Peer, proof: &Row, standing: Option<&Standing>) {
        let _ = (peer, proof, standing);
    }

    /// A connection to `peer` was borrowed, whatever it is used for.
    fn met(&self, peer: &Peer) {
        let _ = peer;
    }

    /// No connection could be had.
    fn unreachable(&self, error: &Error) {
        let _ = error;
    }
}

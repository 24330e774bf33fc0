//! The primary's guard: an answer counts if it comes from the primary, as the server itself says in the same statement.
//!
//! A name, a proxy or a pooler may lead to another server than it did when the connection was made, and a server may
//! have become another: what the handshake found is not enough.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_postgres::Row;

use super::guard::{Guard, Standing, Verdict};
use crate::{
    error::Error,
    freshness::clock::Moment,
    identify::Peer,
    metrics::PrimaryReason,
    router::{Knowledge, ServedBy},
    statement::Statement,
};

/// Accepts what the primary says.
#[derive(Debug)]
pub(crate) struct PrimaryGuard {
    knowledge: Arc<Knowledge>,
}

impl PrimaryGuard {
    pub(crate) fn new(knowledge: Arc<Knowledge>) -> Self {
        Self { knowledge }
    }
}

impl Guard for PrimaryGuard {
    type Claim = ();

    async fn claim(&self, _: Moment, _: &Peer, _: Instant) -> Result<(), PrimaryReason> {
        Ok(())
    }

    fn proof(&self) -> Option<&'static Statement> {
        None
    }

    fn judge(
        &self,
        (): &(),
        _: &Peer,
        _: Option<&Row>,
        standing: &[Standing],
        _: u32,
    ) -> Result<Verdict, Error> {
        Ok(if standing.iter().all(Standing::is_primary) {
            // The sooner the epoch is known the less the first write waits.
            for standing in standing {
                self.knowledge.note_epoch(standing.epoch);
            }
            Verdict::Accept(ServedBy::Primary {
                reason: PrimaryReason::NoReplica,
            })
        } else {
            // The next connection is asked who it leads to, and begins the epoch that is missing.
            Verdict::Hangup
        })
    }
}

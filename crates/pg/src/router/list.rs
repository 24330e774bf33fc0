//! Lists and reports: one statement at a time, of a replica that proves to be fresh, else of the primary.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use tokio_postgres::{Row, types::ToSql};

use crate::{
    conn::Outside,
    error::Error,
    lane::guard::{Guard, Verdict},
    metrics::{CloseReason, Need, PrimaryReason, Share},
    router::{Age, ServedBy, Servers, replica::Replica},
    statement::{Read, Statement},
};

/// Whoever serves a list. Each statement is fresh by itself: it shows everything that was acknowledged before it.
#[derive(Debug)]
pub struct Reader {
    servers: Arc<Servers>,
    need: Need,
    stale: Mutex<Option<Age>>,
}

impl Reader {
    pub(crate) fn new(servers: Arc<Servers>, need: Need) -> Self {
        Self {
            servers,
            need,
            stale: Mutex::default(),
        }
    }

    /// How old what was read so far may be, if any of it came from a replica while the primary was lost.
    pub fn stale_age(&self) -> Option<Age> {
        *self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, by: ServedBy) {
        if let ServedBy::Stale { age } = by {
            let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
            *stale = Some(age).max(*stale);
        }
    }
}

impl Read for Reader {
    /// Cancel safe: whoever goes away leaves the queue, and is not counted.
    async fn query(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        // Boxed, so that whoever holds this future does not carry the whole of two tries.
        let (rows, by) = Box::pin(self.servers.list(self.need, statement, params)).await?;
        self.servers.count_read(self.need, by);
        self.note(by);
        Ok(rows)
    }
}

impl Servers {
    /// Cancel safe as [`Outside::query`]: whoever goes away leaves the queue.
    async fn list(
        &self,
        need: Need,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<(Vec<Row>, ServedBy), Error> {
        let reason = match self.pick(need) {
            Ok(replica) => match self.list_on(replica, statement, params).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(reason)) => reason,
                Err(error) => {
                    tracing::debug!(%error, "a replica did not answer a list; asking the primary");
                    PrimaryReason::ReplicaFailed
                }
            },
            Err(reason) => reason,
        };
        let lease = self.primary.pool.acquire(Share::Lists).await;
        let lease = lease.map_err(|error| self.blamed(error))?;
        let outside = Outside::new(lease);
        let vouched = outside.query_vouched(None, statement, params).await?;
        if !vouched.standing.is_primary() {
            outside.lease().end(CloseReason::WrongServer);
            return Err(Error::NotPrimary);
        }
        self.knowledge.note_epoch(vouched.standing.epoch);
        Ok((vouched.rows, ServedBy::Primary { reason }))
    }

    /// One try on a replica, and two more where it is just not far enough. `Ok(Err)` sends the caller to the primary.
    /// Cancel safe as [`Servers::list`].
    async fn list_on(
        &self,
        replica: &Replica,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Result<(Vec<Row>, ServedBy), PrimaryReason>, Error> {
        let lease = replica.pool.acquire(Share::Lists).await?;
        let deadline = Instant::now() + self.acquire.read;
        let outside = Outside::new(lease);
        let guard = &replica.guard;
        let peer = outside.lease().peer().clone();
        // The request arrived before this moment.
        let claim = match guard.claim(self.knowledge.now(), &peer, deadline).await {
            Ok(claim) => claim,
            Err(reason) => return Ok(Err(reason)),
        };
        for attempt in 0.. {
            let vouched = outside
                .query_vouched(guard.proof(), statement, params)
                .await?;
            if let Some(proof) = &vouched.proof {
                guard.observe(&peer, proof, Some(&vouched.standing));
            }
            let proof = vouched.proof.as_ref();
            match guard.judge(&claim, &peer, proof, &[vouched.standing], attempt)? {
                Verdict::Accept(by) => return Ok(Ok((vouched.rows, by))),
                Verdict::Again(pause) => tokio::time::sleep(pause).await,
                Verdict::Elsewhere(reason) => return Ok(Err(reason)),
                Verdict::Hangup => {
                    outside.lease().end(CloseReason::WrongServer);
                    break;
                }
            }
        }
        Ok(Err(PrimaryReason::ReplicaFailed))
    }
}

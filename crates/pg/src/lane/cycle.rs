//! One cycle: everything that was closed together travels together, and is judged and handed out.
//!
//! The proof and the batches are sent one behind the other without waiting, so they cost one round trip; each is a
//! statement and a transaction of its own, so the proof has ended before a snapshot of a batch is taken. Answers come
//! in the same order, and each batch is handed out when its own is there.

use std::{pin::Pin, time::Duration};

use futures::{
    future::{MaybeDone, maybe_done},
    poll,
};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Row, types::ToSql};

use super::{
    Refused,
    batch::Batch,
    guard::{Guard, Standing, Verdict},
};
use crate::{
    error::{DialError, Error},
    freshness::clock::Moment,
    lease::Lease,
    metrics::{CloseReason, Need, PrimaryReason, Role, StatementLabels},
    policy::LanePolicy,
    protocol::{STANDING, undecodable},
    router::ServedBy,
    sqlstate,
};

type Batches = Vec<Box<dyn Batch>>;

/// A statement under way. Polled once, it has been sent.
type Flight<F> = Pin<Box<MaybeDone<F>>>;

/// What a lane flies with.
#[derive(Debug)]
pub(super) struct Cycle<'a, G> {
    pub(super) guard: &'a G,
    pub(super) lease: &'a Lease,
    pub(super) policy: &'a LanePolicy,
}

/// What one attempt has left to do.
#[derive(Debug, Default)]
struct Again {
    batches: Batches,
    wait: Duration,
}

impl<G: Guard> Cycle<'_, G> {
    /// Sends `batches`, which were closed at `closed_at`. Returns those that shall go with a later cycle: halves of one
    /// that failed, and what a lost connection had to leave.
    ///
    /// Dropped, its batches are lost: those who asked hear so, and the lease waits for the server.
    pub(super) async fn fly(&self, closed_at: Moment, batches: Batches) -> Batches {
        let mut later = Batches::new();
        let batches = self.prepare(batches, &mut later).await;
        let (claim, mut batches) = self.claim(closed_at, batches).await;
        let mut attempt = 0;
        while !batches.is_empty() {
            let again = self
                .attempt(claim.as_ref(), batches, attempt, &mut later)
                .await;
            batches = again.batches;
            if !batches.is_empty() {
                sleep(again.wait).await;
            }
            attempt += 1;
        }
        later
    }

    /// Whatever needs an answer before it can be sent is done first, so that nothing waits in the middle of a flight.
    /// Dropped, its batches are lost as in [`Cycle::fly`].
    async fn prepare(&self, batches: Batches, later: &mut Batches) -> Batches {
        let mut ready = Batches::with_capacity(batches.len());
        let proven = match self.guard.proof() {
            Some(proof) => self.lease.prepare(proof).await,
            None => Ok(()),
        };
        for batch in batches {
            // Sent unprepared it would be prepared first, and answered after the batch that it must come before.
            if let Err(error) = &proven
                && batch.need() == Need::Fresh
            {
                if error.is_connection_lost() {
                    self.moved(batch, later, || error.clone());
                } else {
                    batch.refuse(&Refused::Elsewhere(PrimaryReason::ReplicaFailed));
                }
                continue;
            }
            match self.lease.prepare(batch.statement()).await {
                Ok(()) => ready.push(batch),
                Err(error) => self.failed(batch, error, later),
            }
        }
        ready
    }

    /// Gets what the fresh ones are held against, or sends them elsewhere. Dropped, its batches are lost as in
    /// [`Cycle::fly`]; nothing was sent for them.
    async fn claim(&self, closed_at: Moment, batches: Batches) -> (Option<G::Claim>, Batches) {
        let fresh = batches.iter().filter(|batch| batch.need() == Need::Fresh);
        let Some(deadline) = fresh.map(|batch| batch.deadline()).max() else {
            return (None, batches);
        };
        match self
            .guard
            .claim(closed_at, self.lease.peer(), deadline)
            .await
        {
            Ok(claim) => (Some(claim), batches),
            Err(reason) => {
                let (fresh, any): (Batches, Batches) = batches
                    .into_iter()
                    .partition(|batch| batch.need() == Need::Fresh);
                for batch in fresh {
                    batch.refuse(&Refused::Elsewhere(reason));
                }
                (None, any)
            }
        }
    }

    /// Asks how far the server is, for whoever wants to know it, without a batch. Cancel safe: nobody is told.
    pub(super) async fn probe(&self) -> Result<(), Error> {
        let Some(proof) = self.guard.proof() else {
            return Ok(());
        };
        self.lease.prepare(proof).await?;
        self.lease.prepare(&STANDING).await?;
        // In this order, as with a batch.
        let (proof, standing) = futures::join!(
            self.lease.query_one(proof, &[]),
            self.lease.query_one(&STANDING, &[])
        );
        let (proof, standing) = (proof?, standing?);
        let standing = Standing::decode(&standing, 0).map_err(undecodable(STANDING.name))?;
        self.guard
            .observe(self.lease.peer(), &proof, Some(&standing));
        Ok(())
    }

    /// Sends everything in one flight, and tells each batch what came of it. Dropped, those whose answer was not there yet
    /// are lost as in [`Cycle::fly`].
    async fn attempt(
        &self,
        claim: Option<&G::Claim>,
        batches: Batches,
        attempt: u32,
        later: &mut Batches,
    ) -> Again {
        let proof = claim.and_then(|_| self.guard.proof());
        let columns: Vec<_> = batches.iter().map(|batch| batch.columns()).collect();
        let params: Vec<Vec<&(dyn ToSql + Sync)>> = columns.iter().map(|c| borrowed(c)).collect();
        let mut proof = proof.map(|statement| self.flight(statement, &[]));
        let mut flights: Vec<_> = batches
            .iter()
            .zip(&params)
            .map(|(batch, params)| self.flight(batch.statement(), params))
            .collect();
        // A statement is sent when its answer is first asked for.
        for flight in proof.iter_mut().chain(&mut flights) {
            let _ = poll!(flight);
        }
        let mut again = Again::default();
        let proof = match proof {
            None => Ok(None),
            Some(mut flight) => landed(&mut flight).await.map(|mut rows| rows.pop()),
        };
        for (batch, mut flight) in batches.into_iter().zip(flights) {
            let rows = match landed(&mut flight).await {
                Ok(rows) => rows,
                Err(error) => {
                    self.failed(batch, error, later);
                    continue;
                }
            };
            let Some(claim) = claim.filter(|_| batch.need() == Need::Fresh) else {
                batch.deliver(&rows, self.unproven());
                continue;
            };
            let verdict = match &proof {
                Ok(proof) => self.judge(claim, proof.as_ref(), &*batch, &rows, attempt),
                Err(error) => Err(error.clone()),
            };
            match verdict {
                Ok(Verdict::Accept(by)) => batch.deliver(&rows, by),
                Ok(Verdict::Elsewhere(reason)) => batch.refuse(&Refused::Elsewhere(reason)),
                Ok(Verdict::Again(wait)) => {
                    again.wait = again.wait.max(wait);
                    again.batches.push(batch);
                }
                Ok(Verdict::Hangup) => self.hang_up(batch, later),
                Err(error) => self.failed(batch, error, later),
            }
        }
        again
    }

    fn flight<'a>(
        &'a self,
        statement: &'static crate::statement::Statement,
        params: &'a [&'a (dyn ToSql + Sync)],
    ) -> Flight<impl Future<Output = Result<Vec<Row>, Error>> + 'a> {
        Box::pin(maybe_done(self.lease.query(statement, params)))
    }

    fn judge(
        &self,
        claim: &G::Claim,
        proof: Option<&Row>,
        batch: &dyn Batch,
        rows: &[Row],
        attempt: u32,
    ) -> Result<Verdict, Error> {
        let name = batch.statement().name;
        // There is a row also where nothing was found; none means that the schema is not ours.
        let first = rows.first().ok_or(Error::RowCount { name, actual: 0 })?;
        let standing = Standing::of(first).map_err(|source| Error::decode(name, source))?;
        if let Some(proof) = proof {
            self.guard
                .observe(self.lease.peer(), proof, Some(&standing));
        }
        self.guard
            .judge(claim, self.lease.peer(), proof, &[standing], attempt)
    }

    /// Who has served keys that need no proof.
    fn unproven(&self) -> ServedBy {
        match self.lease.pool().role {
            Role::Replica => ServedBy::Replica,
            Role::Primary => ServedBy::Primary {
                reason: PrimaryReason::NoReplica,
            },
        }
    }

    /// The connection does not lead where it should.
    fn hang_up(&self, batch: Box<dyn Batch>, later: &mut Batches) {
        self.lease.end(CloseReason::WrongServer);
        let expected = self.lease.pool().role;
        self.moved(batch, later, || Error::Unavailable {
            retry_after: Duration::from_secs(1),
            source: DialError::WrongRole { expected },
        });
    }

    fn failed(&self, batch: Box<dyn Batch>, error: Error, later: &mut Batches) {
        let is_replica = self.lease.pool().role == Role::Replica;
        let conflict = error.sqlstate().is_some_and(sqlstate::is_recovery_conflict);
        if error.is_connection_lost() {
            match error {
                // What hung has cost those who wait their time already.
                Error::Unanswered { .. } if !is_replica => batch.refuse(&Refused::Failed(error)),
                error => self.moved(batch, later, || error),
            }
        } else if is_replica && conflict {
            batch.refuse(&Refused::Elsewhere(PrimaryReason::RecoveryConflict));
        } else {
            let labels = StatementLabels {
                server: self.lease.pool().role,
                statement: batch.statement().name,
            };
            let halves = batch.split(error, Instant::now(), self.policy.split_levels);
            if halves.len() > 1 {
                self.lease
                    .pool()
                    .metrics
                    .batch_splits
                    .get_or_create(&labels)
                    .inc();
            }
            later.extend(halves);
        }
    }

    /// A connection was lost, and nothing decided: another one may be asked, once. Of a replica, the primary is.
    fn moved(&self, mut batch: Box<dyn Batch>, later: &mut Batches, error: impl FnOnce() -> Error) {
        if self.lease.pool().role == Role::Replica {
            batch.refuse(&Refused::Elsewhere(PrimaryReason::ReplicaFailed));
        } else if batch.move_on() {
            later.push(batch);
        } else {
            batch.refuse(&Refused::Failed(error()));
        }
    }
}

fn borrowed(columns: &[Box<dyn ToSql + Sync + Send>]) -> Vec<&(dyn ToSql + Sync)> {
    columns
        .iter()
        .map(|column| &**column as &(dyn ToSql + Sync))
        .collect()
}

/// Waits for an answer that may be here already. Cancel safe: the answer stays with `flight`.
async fn landed<F>(flight: &mut Flight<F>) -> F::Output
where
    F: Future,
{
    flight.as_mut().await;
    flight
        .as_mut()
        .take_output()
        .expect("the output of a flight is taken once")
}

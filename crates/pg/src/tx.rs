//! A transaction on the primary, which owns its connection.
//!
//! It ends in one of three ways: [`Tx::commit`], [`Tx::rollback`], or by being dropped, which sends ROLLBACK without
//! waiting. A transaction in which a statement failed cannot be committed: Postgres would answer such a COMMIT with a
//! cheerful ROLLBACK, and the driver does not tell the two apart.

use std::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Waker},
};

use tokio_postgres::{Row, types::ToSql};

use crate::{
    error::Error,
    freshness::{barrier::AfterCommit, floor::Epoch},
    lane::guard::Standing,
    lease::Lease,
    metrics::{CloseReason, TransactionLabels, TransactionOutcome},
    protocol::{Now, STANDING, undecodable},
    router::Protocol,
    statement::{Read, Statement},
};

/// An open transaction. READ COMMITTED; every statement is limited by the kind of work it was begun for.
#[derive(Debug)]
pub struct Tx {
    lease: Lease,
    protocol: Protocol,
    /// Whether the server may think that it is open.
    open: bool,
    /// Whether a statement failed, or was abandoned, since the last savepoint that was returned to.
    spoiled: AtomicBool,
}

/// Proof that a transaction was committed, and what the acknowledgement barrier needs to know of it. Give it to
/// [`crate::Router::acknowledge`] before anybody is told.
#[derive(Debug)]
#[must_use = "a change is acknowledged through `Router::acknowledge`"]
pub struct Committed {
    /// What the primary said right after.
    pub(crate) after: AfterCommit,
}

impl Tx {
    /// Begins a transaction on a borrowed connection.
    ///
    /// Cancel safe: what may have begun is rolled back.
    pub(crate) async fn begin(
        lease: Lease,
        begin: &str,
        protocol: Protocol,
    ) -> Result<Self, Error> {
        // So that at the end everything travels at once. A connection prepares it once.
        lease.prepare(protocol.mode.now()).await?;
        if lease.pool().policy.pooler {
            lease.prepare(&STANDING).await?;
        }
        let tx = Self {
            lease,
            protocol,
            // Before BEGIN is sent: a caller that goes away now must leave no transaction behind.
            open: true,
            spoiled: AtomicBool::new(false),
        };
        tx.lease.command("begin", begin).await?;
        Ok(tx)
    }

    /// Runs a statement and returns how many rows it changed.
    ///
    /// Cancel safe: the transaction can then only be rolled back.
    pub async fn execute(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let step = Step::of(self);
        let rows = self.lease.execute(statement, params).await?;
        step.succeeded();
        Ok(rows)
    }

    /// Runs a statement that must change exactly one row. Cancel safety as for [`Tx::execute`].
    ///
    /// # Errors
    ///
    /// [`Error::AffectedRows`] if it changed another number; the transaction is still good.
    pub async fn execute_one(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<(), Error> {
        match self.execute(statement, params).await? {
            1 => Ok(()),
            actual => Err(Error::AffectedRows {
                name: statement.name,
                expected: 1,
                actual,
            }),
        }
    }

    /// Marks a point to which [`Tx::rollback_to`] returns. `name` is an SQL identifier, written in the code.
    ///
    /// Cancel safe: the transaction can then only be rolled back, to an earlier savepoint or as a whole.
    pub async fn savepoint(&self, name: &'static str) -> Result<(), Error> {
        let step = Step::of(self);
        self.lease
            .command("savepoint", &format!("SAVEPOINT {name}"))
            .await?;
        step.succeeded();
        Ok(())
    }

    /// Undoes everything since the savepoint, a failed statement too. The savepoint stays.
    ///
    /// Cancel safety as for [`Tx::savepoint`].
    pub async fn rollback_to(&self, name: &'static str) -> Result<(), Error> {
        let step = Step::of(self);
        self.lease
            .command("rollback_to", &format!("ROLLBACK TO SAVEPOINT {name}"))
            .await?;
        step.succeeded();
        // The server has it, so all was well when it was made: no savepoint can be made in a failed transaction.
        self.spoiled.store(false, Ordering::Release);
        Ok(())
    }

    /// Forgets a savepoint and keeps what was done since. Cancel safety as for [`Tx::savepoint`].
    pub async fn release(&self, name: &'static str) -> Result<(), Error> {
        let step = Step::of(self);
        self.lease
            .command("release", &format!("RELEASE SAVEPOINT {name}"))
            .await?;
        step.succeeded();
        Ok(())
    }

    /// Commits. The connection goes back to its pool before this returns.
    ///
    /// Behind COMMIT, in the same round trip and outside the transaction, travels the question how far the primary is
    /// then and who serves: what [`crate::Router::acknowledge`] goes by.
    ///
    /// Not cancel safe in one sense: whoever goes away in the middle does not learn whether it took effect. The
    /// connection is given back either way.
    ///
    /// # Errors
    ///
    /// [`Error::Aborted`] if a statement in it failed: it has been rolled back. [`Error::CommitUnknown`] if the line
    /// broke: it may have happened. Any other error: it has not.
    pub async fn commit(mut self) -> Result<Committed, Error> {
        if self.spoiled.load(Ordering::Acquire) {
            self.roll_back(TransactionOutcome::Failed).await?;
            return Err(Error::Aborted);
        }
        // Sent when it is first polled, which is now.
        self.open = false;
        let mode = &self.protocol.mode;
        let parameters = mode.parameters();
        // Each is sent when first asked for its result, and `join` asks in this order.
        let (within, result, after) = futures::join!(
            self.epoch_behind_a_pooler(),
            self.lease.commit(),
            self.lease.query_one(mode.now(), &parameters),
        );
        let committed_at = self.protocol.knowledge.now();
        self.ended(&result, TransactionOutcome::Committed);
        match result {
            Ok(()) => {}
            Err(error) if error.is_connection_lost() => {
                return Err(Error::CommitUnknown {
                    source: Box::new(error),
                });
            }
            Err(error) => return Err(error),
        }
        // It was committed, and perhaps on a server that is the primary no more: nobody may be told.
        let after = after.map_err(|source| Error::CommitUnknown {
            source: Box::new(source),
        })?;
        let Some(now) = Now::decode(&after)? else {
            self.lease.end(CloseReason::WrongServer);
            return Err(Error::EpochChanged);
        };
        let epoch = now.standing.epoch;
        if within?.is_some_and(|within| within != epoch) {
            return Err(Error::EpochChanged);
        }
        self.protocol.knowledge.note_epoch(epoch);
        Ok(Committed {
            after: now.into_after_commit(committed_at),
        })
    }

    /// The epoch that the transaction itself sees, where the statement behind COMMIT may run on another server. Cancel safe as
    /// [`Lease::query`].
    async fn epoch_behind_a_pooler(&self) -> Result<Option<Epoch>, Error> {
        if !self.lease.pool().policy.pooler {
            return Ok(None);
        }
        let row = self.lease.query_one(&STANDING, &[]).await?;
        let standing = Standing::decode(&row, 0).map_err(undecodable(STANDING.name))?;
        Ok(Some(standing.epoch))
    }

    /// Rolls back, and waits until that is done.
    ///
    /// Cancel safe: the ROLLBACK has been sent.
    pub async fn rollback(mut self) -> Result<(), Error> {
        self.roll_back(TransactionOutcome::RolledBack).await
    }

    /// Cancel safe as [`Tx::rollback`]: the lease waits for the server before the connection is lent again.
    async fn roll_back(&mut self, outcome: TransactionOutcome) -> Result<(), Error> {
        self.open = false;
        let result = self.lease.command("rollback", "ROLLBACK").await;
        self.ended(&result, outcome);
        result
    }

    fn ended(&self, result: &Result<(), Error>, as_wished: TransactionOutcome) {
        self.count(match result {
            Ok(()) => as_wished,
            Err(_) => TransactionOutcome::Failed,
        });
    }

    fn count(&self, outcome: TransactionOutcome) {
        let transactions = &self.lease.pool().metrics.transactions;
        transactions
            .get_or_create(&TransactionLabels { outcome })
            .inc();
    }
}

impl Read for Tx {
    async fn query(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let step = Step::of(self);
        let rows = self.lease.query(statement, params).await?;
        step.succeeded();
        Ok(rows)
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        self.count(TransactionOutcome::Dropped);
        // Asked once, the driver queues the message; nobody needs its answer. It is ahead of whatever the next
        // borrower sends, because the connection goes back after this.
        let rollback = pin!(self.lease.client().batch_execute("ROLLBACK"));
        let _ = rollback.poll(&mut Context::from_waker(Waker::noop()));
    }
}

/// One step of a transaction. Dropped before it succeeded, it spoils the transaction: a statement that failed, or
/// whose end nobody saw, leaves a transaction that must not be committed.
struct Step<'a>(Option<&'a AtomicBool>);

impl<'a> Step<'a> {
    fn of(tx: &'a Tx) -> Self {
        Self(Some(&tx.spoiled))
    }

    fn succeeded(mut self) {
        self.0 = None;
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if let Some(spoiled) = self.0 {
            spoiled.store(true, Ordering::Release);
        }
    }
}

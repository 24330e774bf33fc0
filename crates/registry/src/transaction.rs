//! Write transactions: begin, work, commit, again where Postgres asks for it, then the barrier.

use crate::{Caller, Error, Registry, authorize};
use portolan_auth::Action;
use portolan_metadata::{RepositoryId, repositories};
use portolan_oci::RepositoryName;
use portolan_pg::Tx;

/// How often a whole transaction is run before the client hears 503: deadlocks (40P01) and lost
/// references (23503) resolve at the second run unless the rows are in constant dispute.
const ATTEMPTS: u32 = 3;

/// Whether the acknowledgement must wait until every serving replica shows the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledge {
    /// Tag moves, every delete, and changes of rights: what readers could otherwise see undone.
    WhenVisible,
    /// What only turns "unknown" into "here": replicas' negative answers are confirmed on the primary.
    AtCommit,
}

impl Registry {
    /// Runs `work` in one transaction and commits it; at most [`ATTEMPTS`] times where it failed retryably.
    ///
    /// Cancel safety: dropped before the commit was sent, the transaction rolls back; dropped after,
    /// it may be committed but nobody was told so.
    pub(crate) async fn transact<T>(
        &self,
        acknowledge: Acknowledge,
        work: impl AsyncFn(&Tx) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut attempt = 1;
        loop {
            let tx = self.router().begin().await?;
            let failure = match work(&tx).await {
                Ok(outcome) => match tx.commit().await {
                    Ok(committed) => {
                        if acknowledge == Acknowledge::WhenVisible {
                            self.router().acknowledge(committed).await?;
                        }
                        return Ok(outcome);
                    }
                    Err(cause) => Error::from(cause),
                },
                Err(failure) => {
                    // The failure is the answer; a connection that cannot roll back is closed by its drop.
                    let _ = tx.rollback().await;
                    failure
                }
            };
            if attempt == ATTEMPTS || !failure.is_retryable() {
                return Err(failure);
            }
            attempt += 1;
        }
    }
}

/// The first statement of every write into a repository: finds it by path, locks it against
/// removal, decides the right, and makes it where the caller may.
pub(crate) async fn lock_for_push(
    tx: &Tx,
    caller: &Caller,
    name: &RepositoryName,
) -> Result<RepositoryId, Error> {
    let access = repositories::lock(tx, name, &caller.principal).await?;
    authorize(&access, caller, name, Action::Push)?;
    match access.repository {
        Some(repository) => Ok(repository),
        None => Ok(repositories::create(tx, name, &caller.principal).await?),
    }
}

/// As [`lock_for_push`], for deletes: a missing repository is not made.
pub(crate) async fn lock_for_delete(
    tx: &Tx,
    caller: &Caller,
    name: &RepositoryName,
) -> Result<RepositoryId, Error> {
    let access = repositories::lock(tx, name, &caller.principal).await?;
    authorize(&access, caller, name, Action::Delete)?;
    access.repository.ok_or(Error::NameUnknown)
}

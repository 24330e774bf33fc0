//! Write transactions: begin, work, commit, again where Postgres asks for it, then the barrier.

use crate::audit::Changes;
use crate::{Caller, Error, Registry, authorize};
use portolan_auth::Action;
use portolan_metadata::{RepositoryId, audit, repositories};
use portolan_oci::RepositoryName;
use portolan_pg::{Router, Tx};

/// How often a whole transaction is run before the client hears 503: deadlocks (40P01) and lost
/// references (23503) resolve at the second run unless the rows are in constant dispute.
const ATTEMPTS: u32 = 3;

/// Whether the acknowledgement must wait until every serving replica shows the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledge {
    /// Tag moves, every delete, and changes of rights: what readers could otherwise see undone. And what a list of a
    /// replica's would lack, as that is no negative answer: referrers.
    WhenVisible,
    /// What only turns "unknown" into "here": replicas' negative answers are confirmed on the primary, and the catalog,
    /// where new repositories are, is the primary's.
    AtCommit,
}

/// How many more times one write may be run.
#[derive(Debug)]
pub(crate) struct Attempts(u32);

impl Attempts {
    pub(crate) fn new() -> Self {
        Self(ATTEMPTS)
    }
}

/// Ends one attempt of a write: commits what succeeded and waits for the barrier, rolls back what failed.
///
/// `None` asks the caller for another attempt in a new transaction. (A loop in each caller and
/// not a closure here: the future of a borrowing async closure cannot be shown to be `Send`.)
///
/// Cancel safety: dropped before the COMMIT was sent, the transaction rolls back; dropped after,
/// it may be committed but nobody was told so.
pub(crate) async fn conclude<T>(
    router: &Router,
    tx: Tx,
    outcome: Result<T, Error>,
    acknowledge: Acknowledge,
    attempts: &mut Attempts,
) -> Result<Option<T>, Error> {
    let failure = match outcome {
        Ok(done) => match tx.commit().await {
            Ok(committed) => {
                if acknowledge == Acknowledge::WhenVisible {
                    router.acknowledge(committed).await?;
                }
                return Ok(Some(done));
            }
            Err(cause) => Error::from(cause),
        },
        Err(failure) => {
            // The failure is the answer; a connection that cannot roll back is closed by the pool.
            let _ = tx.rollback().await;
            failure
        }
    };
    attempts.0 -= 1;
    if attempts.0 > 0 && failure.is_retryable() {
        Ok(None)
    } else {
        Err(failure.given_up())
    }
}

impl Registry {
    /// [`conclude`], of this registry's writes.
    pub(crate) async fn conclude<T>(
        &self,
        tx: Tx,
        outcome: Result<T, Error>,
        acknowledge: Acknowledge,
        attempts: &mut Attempts,
    ) -> Result<Option<T>, Error> {
        conclude(self.router(), tx, outcome, acknowledge, attempts).await
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
    if let Some(repository) = access.repository {
        return Ok(repository);
    }
    repositories::hold_namespace(tx, name, &caller.principal).await?;
    let ensured = repositories::ensure(tx, name, &caller.principal).await?;
    if ensured.made {
        let mut changes = Changes::of(name, ensured.id);
        changes.made();
        audit::record_all(tx, &caller.actor(), changes.list()).await?;
    }
    Ok(ensured.id)
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

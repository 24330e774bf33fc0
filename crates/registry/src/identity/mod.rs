//! Who there is and what they may: accounts, organizations, teams, robots, tokens and permissions, as they are changed.
//!
//! Each change is one function here: one transaction that asks whether writes are taken, makes the change, writes it into
//! the audit log, commits, and waits until every process sees it. The command line calls these, and the web API does.
//! Whether somebody may make a change is its caller's to decide; what is wrong in itself is refused here.

mod audit;
mod browser_session;
mod external;
mod federation;
mod keys;
mod lockouts;
mod organizations;
mod passwords;
mod permissions;
mod recovery;
mod removal;
mod repositories;
mod robots;
mod teams;
mod tokens;
mod users;

pub use audit::{Kept, Search};
pub use external::{ExternalPerson, From, Person, SignIn, SignInRefusal, SignUp};
pub use federation::FederatedRobot;
pub use keys::{Key, KeyPolicy, ROTATE_KEYS, Resealed, Retired, Rotation};
pub use lockouts::{FORGET_FAILURES, LockoutRules};
pub use portolan_metadata::audit::{Actor, Cursor, CursorError, Entry, Pull, PullRow};
pub use portolan_metadata::browser_sessions::{SessionHash, SessionRow};
pub use portolan_metadata::external_identities::PersonRow;
pub use recovery::{Addressee, RECOVERY_LIFETIME};
pub use removal::{Deleted, Repositories};
pub use robots::RobotRow;
pub use tokens::{TokenRow, TokenToMake};

use crate::Error;
use crate::transaction::{Acknowledge, Attempts, conclude};
use portolan_metadata::read_only;
use portolan_pg::{Reader, Router, Tx};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The way to change who there is; cheap to clone.
#[derive(Debug, Clone)]
pub struct Identity {
    router: Router,
}

impl Identity {
    /// Through `router`.
    pub fn new(router: Router) -> Self {
        Self { router }
    }

    /// Someone to ask for what is listed and shown, everything acknowledged before included.
    pub(crate) fn reader(&self) -> Reader {
        self.router.read_list()
    }

    /// Makes a change: begins, refuses it in read-only mode, does `work`, commits, and waits until every process sees it.
    /// All of that once more, as for pushes, where Postgres asks for it: two changes that need the same rows in different
    /// orders are no failure of either.
    ///
    /// `work` shares the transaction and borrows nothing of this future, which could not be shown to be `Send` otherwise.
    ///
    /// Cancel safety: dropped, it may have been committed, and nobody was told so.
    async fn change<T, F>(&self, work: impl Fn(Arc<Tx>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut attempts = Attempts::new();
        loop {
            let tx = Arc::new(self.router.begin().await?);
            let outcome = match read_only::refuse_writes(&tx).await {
                Ok(()) => work(Arc::clone(&tx)).await,
                Err(refusal) => Err(refusal.into()),
            };
            let tx = Arc::into_inner(tx).expect("the work is over, and its share gone");
            let visible = Acknowledge::WhenVisible;
            if let Some(done) = conclude(&self.router, tx, outcome, visible, &mut attempts).await? {
                return Ok(done);
            }
        }
    }

    /// Begins a change, which read-only mode refuses.
    async fn begin(&self) -> Result<Tx, Error> {
        let tx = self.router.begin().await?;
        read_only::refuse_writes(&tx).await?;
        Ok(tx)
    }

    /// Commits a change and waits until every process sees it.
    ///
    /// Cancel safety: dropped, it may have been committed, and nobody was told so.
    async fn finish(&self, tx: Tx) -> Result<(), Error> {
        self.router.acknowledge(tx.commit().await?).await?;
        Ok(())
    }

    /// Begins what is done beside requests, in the share of connections that is for that.
    async fn begin_aside(&self) -> Result<Tx, Error> {
        let tx = self.router.begin_background().await?;
        read_only::refuse_writes(&tx).await?;
        Ok(tx)
    }

    /// Commits what nobody is told of, so that no process need see it at once.
    async fn finish_aside(&self, tx: Tx) -> Result<(), Error> {
        let _committed = tx.commit().await?;
        Ok(())
    }
}

/// What the audit log says of a value that was replaced.
fn replaced(from: impl Serialize, to: impl Serialize) -> Value {
    json!({ "from": from, "to": to })
}

//! Who there is and what they may: accounts, organizations, teams, robots, tokens and permissions, as they are changed.
//!
//! Each change is one function here: one transaction that asks whether writes are taken, makes the change, writes it into
//! the audit log, commits, and waits until every process sees it. The command line calls these, and the web API does.
//! Whether somebody may make a change is its caller's to decide; what is wrong in itself is refused here.

mod audit;
mod keys;

pub use audit::{Kept, Search};
pub use keys::{Key, KeyPolicy, ROTATE_KEYS, Resealed, Retired, Rotation};

use crate::Error;
use portolan_metadata::read_only;
use portolan_pg::{Router, Tx};

pub use portolan_metadata::audit::{Actor, Cursor, CursorError, Entry, Pull, PullRow};

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

    /// The way to Postgres, for reads.
    fn router(&self) -> &Router {
        &self.router
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
}

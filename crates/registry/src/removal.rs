//! What deleted repositories leave behind, and how it goes.

use crate::{Error, Registry};
use portolan_metadata::{read_only, repositories};

impl Registry {
    /// Removes at most `rows` rows of one repository that was deleted a day ago, in a transaction of its own. Returns how
    /// many; `None`: nothing is left to do now.
    ///
    /// May be dropped at any point: what is left is found again.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], as every write.
    pub async fn remove_repository_rows(&self, rows: usize) -> Result<Option<u64>, Error> {
        let tx = self.router().begin_background().await?;
        read_only::refuse_writes(&tx).await?;
        let gone = match repositories::remove_step(&tx, repositories::KEPT, rows).await {
            // A collector is at the same repository: it will be gone when this is tried again.
            Err(cause) if cause.is_retryable() => return Ok(None),
            step => step?,
        };
        // No reader is promised anything by this: no barrier.
        let _committed = tx.commit().await?;
        Ok(gone)
    }
}

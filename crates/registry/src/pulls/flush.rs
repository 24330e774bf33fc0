//! Writing counts down: each once, whatever happens to the line or the server meanwhile.
//!
//! A COMMIT that nobody answered may have taken effect. Its transaction's number is kept, and the server asked what became of
//! it, before those counts are added again or forgotten.

use super::{Doubtful, Pulls};
use crate::Error;
use portolan_metadata::audit::{self, Fate, Pull};
use portolan_metadata::{CredentialId, read_only};
use portolan_pg::{Router, Tx};
use std::time::SystemTime;

/// Counts in one statement: some milliseconds, in which other processes may wait for the same rows.
const BATCH: usize = 4_096;

impl Pulls {
    /// Writes everything down that waits.
    ///
    /// Cancel safety: what was not sent yet waits again.
    pub async fn flush(&self, router: &Router) -> Result<(), Error> {
        self.settle(router).await?;
        if self.waiting().doubtful.is_some() {
            return Ok(());
        }
        let mut taken = self.take();
        while !taken.counts.is_empty() || !taken.used.is_empty() {
            // The doubt of the batch before is over: it was written.
            let from = taken.counts.len().saturating_sub(BATCH);
            let batch = Batch {
                pulls: self,
                counts: taken.counts.split_off(from),
                used: std::mem::take(&mut taken.used),
            };
            self.write(router, batch).await?;
        }
        Ok(())
    }

    /// How many counts wait: what is lost if the process ends now.
    pub fn waits(&self) -> usize {
        let waiting = self.waiting();
        let doubtful = waiting
            .doubtful
            .as_ref()
            .map_or(0, |batch| batch.pulls.len());
        waiting.pulls.len() + doubtful
    }

    async fn write(&self, router: &Router, mut batch: Batch<'_>) -> Result<(), Error> {
        let tx = begin(router).await?;
        let id = audit::transaction(&tx).await?;
        audit::count(&tx, &batch.counts, &batch.used).await?;
        // From here on nobody knows, until the answer is there.
        let counts = std::mem::take(&mut batch.counts);
        let used = std::mem::take(&mut batch.used);
        self.waiting().doubtful = Some(Doubtful {
            transaction: id,
            pulls: counts,
        });
        match tx.commit().await {
            // No reader is promised anything by this: no barrier.
            Ok(_committed) => {
                self.forget_doubt(true);
                Ok(())
            }
            Err(
                error @ (portolan_pg::Error::CommitUnknown { .. }
                | portolan_pg::Error::EpochChanged),
            ) => {
                // Whether a credential's last use was told does not matter: it may be told again.
                batch.used = used;
                Err(error.into())
            }
            Err(error) => {
                batch.used = used;
                self.forget_doubt(false);
                Err(error.into())
            }
        }
    }

    /// Learns what became of the batch whose end nobody saw.
    async fn settle(&self, router: &Router) -> Result<(), Error> {
        let transaction = match &self.waiting().doubtful {
            Some(batch) => batch.transaction.clone(),
            None => return Ok(()),
        };
        let tx = begin(router).await?;
        let fate = audit::fate(&tx, &transaction).await?;
        let _ = tx.rollback().await;
        match fate {
            Fate::Committed => self.forget_doubt(true),
            Fate::Aborted => self.forget_doubt(false),
            Fate::Open => {}
            Fate::Forgotten => {
                // Too long ago for anybody to know: too few is better than twice.
                let batch = self.waiting().doubtful.take();
                let pulls = batch.iter().flat_map(|batch| &batch.pulls);
                self.0.metrics.lost(pulls.map(|(_, count)| count).sum());
            }
        }
        Ok(())
    }

    fn forget_doubt(&self, written: bool) {
        let mut waiting = self.waiting();
        let Some(batch) = waiting.doubtful.take() else {
            return;
        };
        if written {
            let pulls = batch.pulls.iter().map(|(_, count)| count).sum();
            self.0.metrics.flushed(pulls);
        } else {
            for (pull, count) in batch.pulls {
                self.add(&mut waiting, pull, count);
            }
        }
    }

    fn take(&self) -> Batch<'_> {
        let mut waiting = self.waiting();
        let counts: Vec<(Pull, u64)> = std::mem::take(&mut waiting.pulls).into_iter().collect();
        self.0.metrics.taken(counts.len());
        Batch {
            pulls: self,
            counts,
            used: std::mem::take(&mut waiting.used).into_iter().collect(),
        }
    }
}

/// Counts on their way; what is left of them when this is dropped waits again.
struct Batch<'a> {
    pulls: &'a Pulls,
    counts: Vec<(Pull, u64)>,
    used: Vec<(CredentialId, SystemTime)>,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.counts.is_empty() && self.used.is_empty() {
            return;
        }
        let mut waiting = self.pulls.waiting();
        let was_empty = waiting.is_empty();
        for (pull, count) in self.counts.drain(..) {
            self.pulls.add(&mut waiting, pull, count);
        }
        for (credential, hour) in self.used.drain(..) {
            super::note_use(&mut waiting, credential, hour);
        }
        drop(waiting);
        self.pulls.wake(was_empty, false);
    }
}

/// In the background share, so that no request waits behind it.
async fn begin(router: &Router) -> Result<Tx, Error> {
    let tx = router.begin_background().await?;
    read_only::refuse_writes(&tx).await?;
    Ok(tx)
}

//! Reading the audit log, and keeping it no longer than it is to be kept.

use super::Identity;
use crate::Error;
use portolan_metadata::accounts::AccountName;
use portolan_metadata::audit::{self, Cursor, Entry, Filter, Pull, PullRow};
use portolan_metadata::{namespaces, repositories};
use portolan_oci::RepositoryName;
use std::time::{Duration, SystemTime};

/// Months made ahead: a worker that is away for so long costs nothing but a larger default partition.
const MONTHS_AHEAD: i32 = 2;

/// Rows deleted at a time, of months that have no partition to drop.
const FORGET_ROWS: usize = 5_000;

/// Which changes somebody looks for; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// From then on.
    pub since: Option<SystemTime>,
    /// Until then.
    pub until: Option<SystemTime>,
    /// By whom.
    pub actor: Option<String>,
    /// What was done.
    pub action: Option<String>,
    /// In which repository.
    pub repository: Option<RepositoryName>,
    /// In which namespace.
    pub namespace: Option<AccountName>,
}

/// What one step of keeping did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Partitions made or dropped, and rows deleted.
    pub done: u64,
    /// Whether there may be more rows to delete.
    pub more: bool,
}

impl Identity {
    /// At most `rows` changes, the newest first, before `before` where a page went so far.
    ///
    /// # Errors
    /// [`Error::Refused`]: there is no such repository or namespace now.
    pub async fn search_audit(
        &self,
        search: &Search,
        before: Option<Cursor>,
        rows: usize,
    ) -> Result<Vec<Entry>, Error> {
        let reader = self.reader();
        let repository = match &search.repository {
            Some(name) => Some(repositories::find(&reader, name).await?.id),
            None => None,
        };
        let namespace = match &search.namespace {
            Some(name) => Some(namespaces::find(&reader, name).await?.id),
            None => None,
        };
        let filter = Filter {
            since: search.since,
            until: search.until,
            actor: search.actor.clone(),
            action: search.action.clone(),
            repository,
            namespace,
        };
        Ok(audit::search(&reader, &filter, before, rows).await?)
    }

    /// At most `rows` changes after `after` and before `until`, the oldest first.
    ///
    /// A change gets its time when its transaction begins, and is seen when that ends: of the last seconds some may be
    /// missing yet.
    pub async fn export_audit(
        &self,
        after: Cursor,
        until: SystemTime,
        rows: usize,
    ) -> Result<Vec<Entry>, Error> {
        // The primary's: a copy that somebody keeps shall not miss what a replica does not have yet.
        let reader = self.router.read_primary().await?;
        Ok(audit::export(&reader, after, until, rows).await?)
    }

    /// At most `rows` counts of pulls of a repository, in the order of time, after `after`.
    ///
    /// # Errors
    /// [`Error::Refused`]: there is no such repository now.
    pub async fn pull_counts(
        &self,
        repository: &RepositoryName,
        span: (SystemTime, SystemTime),
        after: Option<&Pull>,
        rows: usize,
    ) -> Result<Vec<PullRow>, Error> {
        let reader = self.reader();
        let repository = repositories::find(&reader, repository).await?.id;
        Ok(audit::pulls(&reader, repository, span, after, rows).await?)
    }

    /// One step of keeping the log: this month's and the next two months' partitions are made, and what ended longer than
    /// `retention` ago goes; `None` keeps everything.
    pub async fn keep_audit(&self, retention: Option<Duration>) -> Result<Kept, Error> {
        let mut done = 0;
        // Each in a transaction of its own, so that no lock is held for longer than it must.
        for ahead in 0..=MONTHS_AHEAD {
            let tx = self.begin_aside().await?;
            done += u64::from(audit::make_month(&tx, ahead).await?);
            self.finish_aside(tx).await?;
        }
        let Some(retention) = retention else {
            return Ok(Kept { done, more: false });
        };
        let tx = self.begin_aside().await?;
        let due = audit::due(&tx, retention).await?;
        tx.rollback().await?;
        for month in due {
            let tx = self.begin_aside().await?;
            done += u64::from(audit::drop_month(&tx, &month).await?);
            self.finish_aside(tx).await?;
            tracing::info!(month, "dropped the audit log of the month of {month}");
        }
        let tx = self.begin_aside().await?;
        let rows = audit::forget(&tx, retention, FORGET_ROWS).await?;
        self.finish_aside(tx).await?;
        Ok(Kept {
            done: done + rows,
            more: rows >= FORGET_ROWS as u64,
        })
    }
}

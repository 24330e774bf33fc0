//! Pulls are counted in the process, and what was counted is written down by and by.
//!
//! A pull costs a look into a map, and the database nothing. Every ten seconds in which there was one, one statement adds
//! what has gathered; while there is nothing, nothing runs and no connection is held. While the primary is lost, or writes
//! are not taken, counts wait here, as many as there is room for; what finds none is lost, and counted as such. A process
//! that is killed loses its last ten seconds.

mod flush;
mod metrics;

use crate::Error;
use metrics::PullMetrics;
use portolan_auth::Clock;
use portolan_metadata::audit::{Pull, TransactionId};
use portolan_metadata::{CredentialId, Principal, RepositoryId};
use portolan_oci::Digest;
use portolan_pg::Router;
use prometheus_client::registry::Registry as Page;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Most counts that wait: some 10 MiB, and an hour in which 65,536 pairs of who and what were pulled from one process.
const WAITING_MAX: usize = 65_536;

/// Most credentials whose last use waits to be told.
const USED_MAX: usize = 16_384;

/// How long counts gather: a process that is killed loses as much.
const FLUSH_EVERY: Duration = Duration::from_secs(10);

/// The longest wait after a failure. Short enough that what waits seldom outgrows its room after an outage.
const RETRY_CAP: Duration = Duration::from_mins(1);

/// In read-only mode nobody hurries, and a process that nobody asks shall hold no connection for it.
const RETRY_READ_ONLY: Duration = Duration::from_mins(5);

/// The counts are by the hour, and so is when a credential was last used.
const HOUR: u64 = 60 * 60;

/// The counts of one process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Pulls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    waiting: Mutex<Waiting>,
    /// There is something, where nothing was.
    begun: Notify,
    /// Half of the room is taken.
    filling: Notify,
    metrics: PullMetrics,
}

/// What is to be written down.
#[derive(Debug, Default)]
struct Waiting {
    pulls: HashMap<Pull, u64>,
    used: HashMap<CredentialId, SystemTime>,
    /// A batch whose COMMIT was not answered: it is asked for before anything else is written.
    doubtful: Option<Doubtful>,
}

#[derive(Debug)]
struct Doubtful {
    transaction: TransactionId,
    pulls: Vec<(Pull, u64)>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.pulls.is_empty() && self.used.is_empty() && self.doubtful.is_none()
    }
}

impl Pulls {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            clock,
            waiting: Mutex::default(),
            begun: Notify::new(),
            filling: Notify::new(),
            metrics: PullMetrics::default(),
        }))
    }

    /// Puts what is counted of the counting on the page.
    pub fn register(&self, page: &mut Page) {
        self.0.metrics.register(page);
    }

    /// Counts one pull of a manifest.
    pub fn count(&self, repository: RepositoryId, digest: Digest, principal: &Principal) {
        let (account, credential) = match principal {
            Principal::Anonymous => (None, None),
            Principal::Account { id, credential, .. } => (Some(*id), *credential),
        };
        let hour = self.hour();
        let pull = Pull {
            hour,
            repository,
            digest,
            account,
            credential,
        };
        let mut waiting = self.waiting();
        let was_empty = waiting.is_empty();
        self.add(&mut waiting, pull, 1);
        let half_full = waiting.pulls.len() == WAITING_MAX / 2;
        if let Some(credential) = credential {
            note_use(&mut waiting, credential, hour);
        }
        drop(waiting);
        self.wake(was_empty, half_full);
    }

    /// Notes that a credential was used for something else than a pull.
    pub fn used(&self, credential: CredentialId) {
        let hour = self.hour();
        let mut waiting = self.waiting();
        let was_empty = waiting.is_empty();
        note_use(&mut waiting, credential, hour);
        drop(waiting);
        self.wake(was_empty, false);
    }

    /// Writes down what gathers, until `stopping`. What is left then is [`Pulls::flush`]'s.
    pub async fn run(self, router: Router, stopping: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = self.0.begun.notified() => {}
            }
            if self.write_until_empty(&router, &stopping).await.is_none() {
                return;
            }
        }
    }

    /// `None` when it is to stop.
    async fn write_until_empty(&self, router: &Router, stopping: &CancellationToken) -> Option<()> {
        let mut wait = FLUSH_EVERY;
        let mut failing = false;
        while !self.waiting().is_empty() {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return None,
                // Where writing fails, more of it does not help.
                () = self.0.filling.notified(), if !failing => {}
                () = tokio::time::sleep(wait) => {}
            }
            match self.flush(router).await {
                Ok(()) => {
                    wait = FLUSH_EVERY;
                    failing = false;
                }
                Err(Error::ReadOnly { .. }) => {
                    wait = RETRY_READ_ONLY;
                    failing = true;
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "cannot write down counts of pulls, which wait: {error}");
                    }
                    wait = if failing {
                        (wait * 2).min(RETRY_CAP)
                    } else {
                        FLUSH_EVERY
                    };
                    failing = true;
                }
            }
        }
        Some(())
    }

    /// Adds `count` where there is room.
    fn add(&self, waiting: &mut Waiting, pull: Pull, count: u64) {
        let room = waiting.pulls.len() < WAITING_MAX;
        match waiting.pulls.entry(pull) {
            Entry::Occupied(mut entry) => *entry.get_mut() += count,
            Entry::Vacant(entry) if room => {
                entry.insert(count);
                self.0.metrics.waits();
            }
            Entry::Vacant(_) => self.0.metrics.lost(count),
        }
    }

    fn wake(&self, was_empty: bool, half_full: bool) {
        if was_empty {
            self.0.begun.notify_one();
        }
        if half_full {
            self.0.filling.notify_one();
        }
    }

    fn hour(&self) -> SystemTime {
        let now = self.0.clock.now();
        let seconds = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        UNIX_EPOCH + Duration::from_secs(seconds - seconds % HOUR)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that finds no room is told with its next use.
fn note_use(waiting: &mut Waiting, credential: CredentialId, hour: SystemTime) {
    if let Some(known) = waiting.used.get_mut(&credential) {
        *known = (*known).max(hour);
    } else if waiting.used.len() < USED_MAX {
        waiting.used.insert(credential, hour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_auth::ManualClock;

    fn counted() -> (Pulls, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(UNIX_EPOCH + Duration::from_mins(90)));
        (Pulls::new(Arc::clone(&clock) as Arc<dyn Clock>), clock)
    }

    #[test]
    fn pulls_of_one_hour_are_one_count() {
        let (pulls, clock) = counted();
        let digest = Digest::sha256(b"x");
        for minutes in [0, 20, 20] {
            clock.advance(Duration::from_mins(minutes));
            pulls.count(RepositoryId::from(1), digest, &Principal::Anonymous);
        }
        let mut counts: Vec<(SystemTime, u64)> = pulls
            .waiting()
            .pulls
            .iter()
            .map(|(pull, count)| (pull.hour, *count))
            .collect();
        counts.sort();
        let hour = |number: u64| UNIX_EPOCH + Duration::from_secs(number * HOUR);
        assert_eq!(counts, [(hour(1), 2), (hour(2), 1)]);
    }

    #[test]
    fn what_finds_no_room_is_counted_as_lost() {
        let (pulls, _) = counted();
        let digest = Digest::sha256(b"x");
        for repository in 0..70_000 {
            pulls.count(
                RepositoryId::from(repository),
                digest,
                &Principal::Anonymous,
            );
        }
        // What has room already is counted on.
        pulls.count(RepositoryId::from(0), digest, &Principal::Anonymous);
        assert_eq!(pulls.waiting().pulls.len(), WAITING_MAX);
        assert_eq!(pulls.0.metrics.lost_so_far(), 70_000 - 65_536);
    }
}

//! So many failures in a minute, of each of many: token buckets, in a bounded table.

use moka::sync::Cache;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A bucket is full again after this.
const MINUTE: Duration = Duration::from_mins(1);

/// Buckets by key. Each is one moment: when it will be full (the generic cell rate algorithm).
#[derive(Debug)]
pub(super) struct Buckets<K: Hash + Eq + Send + Sync + 'static> {
    /// The time that one failure costs; `None`: none is counted.
    cost: Option<Duration>,
    full_at: Cache<K, Arc<Mutex<Instant>>>,
}

impl<K: Hash + Eq + Copy + Send + Sync + 'static> Buckets<K> {
    /// `per_minute` failures at once, and as many in each minute; 0: any number. At most `entries` buckets.
    pub(super) fn new(per_minute: u32, entries: u64) -> Self {
        Self {
            cost: MINUTE.checked_div(per_minute),
            // Who did nothing for a minute has a full one, as who has none.
            full_at: Cache::builder()
                .max_capacity(entries)
                .time_to_idle(MINUTE)
                .build(),
        }
    }

    /// How long until there is room for one more failure; `None`: there is.
    pub(super) fn wait(&self, key: &K, now: Instant) -> Option<Duration> {
        let cost = self.cost?;
        let bucket = self.full_at.get(key)?;
        let full_at = *bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = (full_at + cost).saturating_duration_since(now + MINUTE);
        (!wait.is_zero()).then_some(wait)
    }

    /// Counts a failure, whether or not there is room.
    pub(super) fn take(&self, key: &K, now: Instant) {
        let Some(cost) = self.cost else {
            return;
        };
        let bucket = self.full_at.get_with(*key, || Arc::new(Mutex::new(now)));
        let mut full_at = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        // Checks that were under way when it became empty do not make anybody wait for more than the minute.
        *full_at = ((*full_at).max(now) + cost).min(now + MINUTE);
    }
}

//! Wrong passwords in a row, of one name from one network.

use super::Who;
use moka::sync::Cache;
use portolan_registry::identity::LockoutRules;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How somebody stands.
#[derive(Debug)]
struct Standing {
    failures: u32,
    locked_until: Option<Instant>,
    last_attempt: [u8; 32],
}

/// A bounded table of them.
#[derive(Debug)]
pub(super) struct Attempts(Cache<Who, Arc<Mutex<Standing>>>);

impl Attempts {
    /// At most `entries`, each forgotten after so long without a look at it.
    pub(super) fn new(entries: u64, forget: Duration) -> Self {
        let table = Cache::builder().max_capacity(entries).time_to_idle(forget);
        Self(table.build())
    }

    /// How long `who` is shut out.
    pub(super) fn locked_for(&self, who: &Who, now: Instant) -> Option<Duration> {
        let standing = self.0.get(who)?;
        let standing = standing.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = standing.locked_until?.saturating_duration_since(now);
        (!rest.is_zero()).then_some(rest)
    }

    /// Counts a wrong password, unless it is the one that was wrong before; says whether it did.
    pub(super) fn failed(
        &self,
        who: &Who,
        attempt: [u8; 32],
        rules: Option<&LockoutRules>,
        now: Instant,
    ) -> bool {
        let mut is_first = false;
        let standing = self.0.get_with(*who, || {
            is_first = true;
            Arc::new(Mutex::new(Standing {
                failures: 0,
                locked_until: None,
                last_attempt: attempt,
            }))
        });
        let mut standing = standing.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_first && standing.last_attempt == attempt {
            return false;
        }
        standing.last_attempt = attempt;
        standing.failures = standing.failures.saturating_add(1);
        if let Some(rules) = rules
            && let Some(beyond) = standing.failures.checked_sub(rules.after)
        {
            // As the statement for the rows has it: twice as long each time, up to the longest.
            let doubled = rules.first.saturating_mul(2_u32.saturating_pow(beyond));
            standing.locked_until = Some(now + doubled.min(rules.longest));
        }
        true
    }

    /// A right password was shown.
    pub(super) fn forget(&self, who: &Who) {
        self.0.invalidate(who);
    }
}

//! A directory that does not answer is left alone for a while: logins hear so at once instead of waiting in vain, and whoever
//! looks after it does not find a crowd at the door when it is back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The first time.
const FIRST: Duration = Duration::from_secs(1);
/// The longest: people who wait for a directory that is back wait no longer than this.
const LONGEST: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    failed_at: Option<Instant>,
    closed_until: Option<Instant>,
}

/// Open while all is well.
#[derive(Debug)]
pub(super) struct Breaker {
    state: Mutex<State>,
    /// How long one who tries may take.
    patience: Duration,
}

impl Breaker {
    /// One attempt takes no longer than `patience`.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            state: Mutex::default(),
            patience,
        }
    }

    /// How much longer nobody may ask; `None`: one may.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let rest = self.state().closed_until?.saturating_duration_since(now);
        (!rest.is_zero()).then_some(rest)
    }

    /// Goes to ask. After a failure one goes alone: the others wait for what he finds, or until he should be back.
    pub(super) fn enter(&self, now: Instant) -> Result<Attempt<'_>, Duration> {
        let mut state = self.state();
        let is_alone = state.closed_until.is_some();
        if let Some(until) = state.closed_until {
            let rest = until.saturating_duration_since(now);
            if !rest.is_zero() {
                return Err(rest);
            }
            state.closed_until = Some(now + self.patience);
        }
        Ok(Attempt {
            breaker: self,
            began: now,
            is_alone,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who has gone to ask. If he is dropped on the way and went alone, the next one goes at once: clients that hang
/// up keep nobody out.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    breaker: &'a Breaker,
    began: Instant,
    is_alone: bool,
}

impl Attempt<'_> {
    /// There was an answer.
    pub(super) fn succeeded(mut self) {
        self.is_alone = false;
        *self.breaker.state() = State::default();
    }

    /// There was none. Returns how long nobody may ask now. Those who were under way when the first of them failed are one
    /// failure.
    pub(super) fn failed(mut self, now: Instant) -> Duration {
        self.is_alone = false;
        let mut state = self.breaker.state();
        if state.failed_at.is_none_or(|at| at < self.began) {
            let doubled = FIRST.saturating_mul(2_u32.saturating_pow(state.failures));
            state.failures = state.failures.saturating_add(1);
            state.failed_at = Some(now);
            state.closed_until = Some(now + doubled.min(LONGEST));
        }
        let rest = state
            .closed_until
            .map(|until| until.saturating_duration_since(now));
        rest.filter(|rest| !rest.is_zero()).unwrap_or(FIRST)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.is_alone {
            self.breaker.state().closed_until = Some(self.began);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Breaker;
    use std::time::Duration;
    use tokio::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_a_failure_one_tries_alone_and_each_failure_doubles_the_rest() {
        let breaker = Breaker::new(5 * SECOND);
        let mut now = Instant::now();
        let enter = |now| breaker.enter(now);
        let (mut one, mut other) = (enter(now).unwrap(), enter(now).unwrap());
        for seconds in [1, 2, 4, 8, 15, 15] {
            now += SECOND;
            assert_eq!(one.failed(now), SECOND * seconds);
            // Somebody who was under way with him.
            assert_eq!(other.failed(now), SECOND * seconds);
            assert_eq!(breaker.rest(now), Some(SECOND * seconds));
            now += SECOND * seconds;
            assert_eq!(breaker.rest(now), None);
            one = enter(now).unwrap();
            assert_eq!(enter(now).err(), Some(5 * SECOND), "one tries");
            now += 5 * SECOND;
            other = enter(now).unwrap();
        }
        drop(one);
        drop(other);
        let next = enter(now).expect("who was dropped on the way keeps nobody out");
        next.succeeded();
        assert_eq!(breaker.rest(now), None);
        let (one, other) = (enter(now).unwrap(), enter(now).unwrap());
        drop(one);
        assert_eq!(other.failed(now + SECOND), SECOND, "it began anew");
    }
}

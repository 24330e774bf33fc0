//! A directory that does not answer is left alone for a while: logins hear so at once instead of waiting in vain, and whoever
//! looks after it does not find a crowd at the door when it is back.

use std::sync::{Mutex, PoisonError};
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
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = state.closed_until?.saturating_duration_since(now);
        (!rest.is_zero()).then_some(rest)
    }

    /// Goes to ask. After a failure one goes alone: the others wait for what he finds, or until he should be back. So nothing is
    /// to be undone if he is dropped on the way.
    pub(super) fn enter(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = state.closed_until else {
            return Ok(());
        };
        let rest = until.saturating_duration_since(now);
        if !rest.is_zero() {
            return Err(rest);
        }
        state.closed_until = Some(now + self.patience);
        Ok(())
    }

    /// There was an answer.
    pub(super) fn succeeded(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State::default();
    }

    /// There was none, to who began to ask at `began`. Returns how long nobody may ask now. Those who were under way when the first
    /// of them failed are one failure.
    pub(super) fn failed(&self, began: Instant, now: Instant) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failed_at.is_none_or(|at| at < began) {
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
        assert_eq!(breaker.enter(now), Ok(()));
        for seconds in [1, 2, 4, 8, 15, 15] {
            let began = now;
            now += SECOND;
            assert_eq!(breaker.failed(began, now), SECOND * seconds);
            // Somebody who was under way with him.
            assert_eq!(breaker.failed(began, now), SECOND * seconds);
            assert_eq!(breaker.rest(now), Some(SECOND * seconds));
            now += SECOND * seconds;
            assert_eq!(breaker.rest(now), None);
            assert_eq!(breaker.enter(now), Ok(()));
            assert_eq!(breaker.enter(now), Err(5 * SECOND), "one tries");
        }
        // He was dropped on the way.
        now += 5 * SECOND;
        assert_eq!(breaker.enter(now), Ok(()));
        breaker.succeeded();
        assert_eq!(breaker.rest(now), None);
        assert_eq!(breaker.enter(now), Ok(()));
        assert_eq!(breaker.enter(now), Ok(()));
        assert_eq!(breaker.failed(now, now + SECOND), SECOND, "it began anew");
    }
}

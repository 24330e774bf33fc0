//! Whether this process can serve, as `/readyz` says it.
//!
//! Ready is: started, not draining, and the primary was not out of reach for long. S3 is left out: it is the same for
//! every process, so taking them all out of the load balancer would help nobody, and much is served without it.
//! The same is true of a primary that blinks, hence the grace; and of one that is lost, where replicas can serve pulls
//! without it: then every process stays ready.
//!
//! The primary is asked only while its last news were bad: a probe every few seconds must not keep a connection open
//! in a process that has nothing else to do.

use portolan_pg::Router;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long the primary may be out of reach before this process says that it cannot serve. A fail-over takes less, and
/// a client that meets a ready process hears "later" in its own words, where a load balancer without any would just hang up.
const GRACE: Duration = Duration::from_secs(30);
/// How often, at most, a process that had bad news asks the primary.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The start's checks are under way.
    Starting,
    /// Requests are answered.
    Serving,
    /// It is about to end.
    Draining,
}

/// Why a process is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotReady {
    /// The start's checks are not done.
    #[error("starting")]
    Starting,
    /// It is about to end.
    #[error("draining")]
    Draining,
    /// The primary has been out of reach for longer than the grace, and no replica can serve without it.
    #[error("the database is out of reach")]
    DatabaseAway,
}

/// Whether this process can serve; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    router: Router,
    phase: watch::Sender<Phase>,
    primary: Arc<Mutex<Primary>>,
}

/// What is known of the primary.
#[derive(Debug, Default)]
struct Primary {
    /// Since when every attempt to reach it has failed.
    away_since: Option<Instant>,
    /// When it was last asked because of that.
    asked_at: Option<Instant>,
}

impl Health {
    /// Of a process that starts.
    pub(crate) fn new(router: Router) -> Self {
        Self {
            router,
            phase: watch::Sender::new(Phase::Starting),
            primary: Arc::default(),
        }
    }

    /// Notes where the process stands now.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Whether to send requests here. Cancel safe: the next caller asks again.
    pub(crate) async fn ready(&self) -> Result<(), NotReady> {
        match *self.phase.borrow() {
            Phase::Starting => return Err(NotReady::Starting),
            Phase::Draining => return Err(NotReady::Draining),
            Phase::Serving => {}
        }
        if !self.router.primary_reachable() && self.known(false, Instant::now()).may_ask {
            // Its outcome shows in what the router knows.
            let _ = tokio::time::timeout(ASK_EVERY, self.router.ping_primary()).await;
        }
        let known = self.known(self.router.primary_reachable(), Instant::now());
        known.verdict(self.router.outlives_primary())
    }

    /// Notes whether the primary is in reach.
    fn known(&self, reachable: bool, now: Instant) -> Known {
        let mut primary = self.primary.lock().unwrap_or_else(PoisonError::into_inner);
        primary.note(reachable, now)
    }
}

/// What follows from what is known.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    /// For how long it has been away.
    away: Option<Duration>,
    /// Whether it is time to ask it again.
    may_ask: bool,
}

impl Known {
    /// Whether to send requests here; `outlived` says whether replicas can serve without the primary.
    fn verdict(&self, outlived: bool) -> Result<(), NotReady> {
        match self.away {
            Some(away) if away > GRACE && !outlived => Err(NotReady::DatabaseAway),
            _ => Ok(()),
        }
    }
}

impl Primary {
    fn note(&mut self, reachable: bool, now: Instant) -> Known {
        if reachable {
            *self = Self::default();
            return Known {
                away: None,
                may_ask: false,
            };
        }
        let away_since = *self.away_since.get_or_insert(now);
        let may_ask = self
            .asked_at
            .is_none_or(|asked| now.duration_since(asked) >= ASK_EVERY);
        if may_ask {
            self.asked_at = Some(now);
        }
        Known {
            away: Some(now.duration_since(away_since)),
            may_ask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_that_is_away_is_asked_now_and_then() {
        let mut primary = Primary::default();
        let start = Instant::now();
        assert_eq!(
            primary.note(true, start),
            Known {
                away: None,
                may_ask: false
            }
        );
        assert!(primary.note(false, start).may_ask);
        let soon = start + Duration::from_secs(1);
        assert_eq!(
            primary.note(false, soon),
            Known {
                away: Some(Duration::from_secs(1)),
                may_ask: false
            }
        );
        let later = start + GRACE;
        assert_eq!(
            primary.note(false, later),
            Known {
                away: Some(GRACE),
                may_ask: true
            }
        );
        let lost = primary.note(false, later + Duration::from_secs(1));
        assert_eq!(lost.verdict(false), Err(NotReady::DatabaseAway));
        assert_eq!(lost.verdict(true), Ok(()));
        primary.note(true, later);
        assert_eq!(primary.note(false, later).away, Some(Duration::ZERO));
    }
}

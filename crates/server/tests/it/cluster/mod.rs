//! A primary, two replicas, several processes, and faults: whatever was acknowledged is seen by every later read.
//!
//! Writers move tags; every push has a number in its manifest. Readers pull by tag at any process. What each saw, and
//! when, is one history, and [`checker`] goes through it afterwards.
//!
//! | variable | is |
//! | --- | --- |
//! | `CLUSTER_ROUNDS` | how many clusters are taken through a schedule of faults of their own |
//! | `CLUSTER_SEED` | what the schedules are drawn from |

mod checker;
mod crowd;
mod faults;
mod pooler;
mod shares;
mod stage;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as AsyncMutex;

use self::checker::Event;

/// What happened, in order, and how long after the beginning.
#[derive(Debug)]
pub(crate) struct History {
    began: Instant,
    events: Mutex<Vec<(Duration, Event)>>,
}

impl History {
    fn begin() -> Self {
        Self {
            began: Instant::now(),
            events: Mutex::default(),
        }
    }

    fn note(&self, event: Event) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that times and places agree.
        events.push((self.began.elapsed(), event));
    }

    fn end(&self) -> Vec<(Duration, Event)> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut events)
    }
}

/// The tests here time things: they take turns.
static TURN: AsyncMutex<()> = AsyncMutex::const_new(());

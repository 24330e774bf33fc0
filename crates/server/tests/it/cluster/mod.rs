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

use tokio::sync::Mutex as AsyncMutex;

use self::checker::Event;

/// What happened, in order.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Vec<Event>>);

impl History {
    fn note(&self, event: Event) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event);
    }

    fn end(&self) -> Vec<Event> {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut events)
    }
}

/// The tests here time things: they take turns.
static TURN: AsyncMutex<()> = AsyncMutex::const_new(());

//! Passwords of one name are tried one after the other: of many that came at once the directory would hear all before the
//! first wrong one was counted, and lock out whose name it is.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

/// Names that are tried at the same time, some times over: few share one.
const TURNS: usize = 256;

/// Somebody's turn, until it is dropped.
pub(crate) type Turn<'a> = MutexGuard<'a, ()>;

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    locks: Vec<Mutex<()>>,
    names: RandomState,
    patience: Duration,
}

impl Turns {
    /// Nobody waits longer than `patience`.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            locks: std::iter::repeat_with(Mutex::default).take(TURNS).collect(),
            names: RandomState::new(),
            patience,
        }
    }

    /// Waits for a name's turn; `None`: for too long.
    pub(super) async fn take(&self, name: &str) -> Option<Turn<'_>> {
        let hash = self.names.hash_one(name);
        let at = usize::try_from(hash % TURNS as u64).ok()?;
        timeout(self.patience, self.locks[at].lock()).await.ok()
    }
}

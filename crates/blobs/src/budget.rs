//! The bytes that all uploads together may hold in memory.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bound on bytes; waiting for it is the back-pressure that reaches the client's socket.
///
/// Whoever holds a [`Reservation`] never waits for a second one: with that, the budget cannot
/// be locked up by uploads that wait for each other. First come, first served.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    free: Arc<Semaphore>,
    total: u32,
}

/// Bytes reserved; dropping it gives them back.
#[derive(Debug)]
pub struct Reservation {
    _permit: OwnedSemaphorePermit,
}

impl ByteBudget {
    /// A budget of `total` bytes.
    pub fn new(total: u32) -> Self {
        Self {
            free: Arc::new(Semaphore::new(total as usize)),
            total,
        }
    }

    /// Waits until `bytes` are free. More than the whole budget counts as the whole budget.
    ///
    /// Dropped while it waits, it holds nothing.
    pub async fn reserve(&self, bytes: u64) -> Reservation {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.total);
        let permit = Arc::clone(&self.free).acquire_many_owned(bytes).await;
        Reservation {
            _permit: permit.expect("nobody closes the semaphore"),
        }
    }

    /// Bytes nobody has reserved.
    pub fn free(&self) -> u64 {
        self.free.available_permits() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_reservation_waits_for_room_and_gives_it_back() {
        let budget = ByteBudget::new(100);
        let first = budget.reserve(60).await;
        assert!(budget.reserve(60).now_or_never().is_none());
        assert_eq!(budget.free(), 40);
        drop(first);
        assert!(budget.reserve(60).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_reservation_beyond_the_budget_gets_all_of_it() {
        let budget = ByteBudget::new(100);
        let _all = budget.reserve(1 << 40).await;
        assert_eq!(budget.free(), 0);
    }
}

//! One task per replica that finds out how far it is, when somebody needs to know and nothing else has asked it:
//! writers that wait for it, a floor that it did not meet, a process that must tell the others what it sees.
//!
//! Reads bring the same news in passing, so a replica that serves is hardly ever asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{policy::FloorPolicy, router::replica::Replica};

/// Writers that wait for replicas. While there are any the replicas are asked again and again.
#[derive(Debug, Default)]
pub(crate) struct Waiters(AtomicUsize);

/// One of them, until dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a Waiters);

impl Waiters {
    pub(crate) fn join(&self) -> Waiting<'_> {
        self.0.fetch_add(1, Ordering::AcqRel);
        Waiting(self)
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Asks `replica` when it is wanted, until `shutdown`. Cancel safe: a question that was sent is answered for nobody.
pub(crate) async fn run(
    replica: Arc<Replica>,
    waiters: Arc<Waiters>,
    policy: FloorPolicy,
    shutdown: CancellationToken,
) {
    let mut budget = Budget::new(policy.probes_per_second, policy.probes_at_once);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = replica.watched.notified() => {}
        }
        let mut pause = policy.first_probe;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = budget.take() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = replica.probe(policy.probe_timeout) => {}
            }
            if !waiters.any() {
                break;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(pause) => pause = (pause * 2).min(policy.last_probe),
                // A new writer: the replica may be there in a moment.
                () = replica.watched.notified() => pause = policy.first_probe,
            }
        }
    }
}

/// At most so many a second, and a few at once after a rest.
#[derive(Debug)]
struct Budget {
    every: Duration,
    at_once: u32,
    /// When the last of those taken so far would have been due, one after the other.
    spent_until: Instant,
}

impl Budget {
    fn new(per_second: u32, at_once: u32) -> Self {
        Self {
            every: Duration::from_secs(1) / per_second.max(1),
            at_once,
            spent_until: Instant::now(),
        }
    }

    /// Waits until one may be taken. Cancel safe: nothing is taken.
    async fn take(&mut self) {
        let burst = self.every * self.at_once;
        if let Some(due) = self.spent_until.checked_sub(burst) {
            sleep_until(due).await;
        }
        self.spent_until = self.spent_until.max(Instant::now()) + self.every;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn probes_come_in_a_burst_and_then_at_their_rate() {
        let mut budget = Budget::new(50, 5);
        let began = Instant::now();
        for _ in 0..5 {
            budget.take().await;
        }
        assert!(began.elapsed() <= Duration::from_millis(1));
        for _ in 0..50 {
            budget.take().await;
        }
        let took = began.elapsed();
        assert!(
            (Duration::from_millis(950)..=Duration::from_millis(1_050)).contains(&took),
            "{took:?}"
        );
    }
}

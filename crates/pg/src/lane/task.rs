//! A lane: one long-lived task that waits for keys, takes a connection while there are any, and flies cycle by cycle.

use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc};

use futures::FutureExt;
use tokio::{
    task::yield_now,
    time::{Instant, timeout, timeout_at},
};

use super::{Refused, Shared, batch::Batch, cycle::Cycle, guard::Guard, queue::Duty};
use crate::{
    error::Error,
    lease::Lease,
    metrics::{LaneLabels, LaneName, PrimaryReason, Role, ServerLabel, Share, StatementLabels},
};

/// A lane, and what it carries over from a cycle to the next.
#[derive(Debug)]
pub(super) struct Lane<G> {
    shared: Arc<Shared<G>>,
    duty: Duty,
    /// Halves of what failed, and what a lost connection had left. They go last: whatever slowed them down shall not
    /// slow down others.
    carried: Vec<Box<dyn Batch>>,
}

impl<G: Guard> Lane<G> {
    pub(super) fn new(shared: Arc<Shared<G>>, duty: Duty) -> Self {
        Self {
            shared,
            duty,
            carried: Vec::new(),
        }
    }

    /// Works until the pool is closed, then sends everybody away. The pool's tracker owns it, and waits for its end: it
    /// is dropped only with the runtime, and then nobody waits for an answer any more.
    pub(super) async fn run(mut self) {
        let shutdown = self.shared.pool.shutdown().clone();
        while !shutdown.is_cancelled() {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.work_comes() => {}
            }
            // A bug in the decoding of one row must not end the lane for good.
            if AssertUnwindSafe(self.work()).catch_unwind().await.is_err() {
                tracing::error!("a lane panicked; those whose keys it had sent have no answer");
            }
        }
        for batch in self.carried.drain(..) {
            batch.refuse(&Refused::Failed(Error::Closed));
        }
        self.shared.shut();
    }

    async fn work_comes(&self) {
        let wake = match self.duty {
            Duty::Small | Duty::Everything => &self.shared.first,
            Duty::Large => &self.shared.others,
        };
        while self.carried.is_empty() && !self.has_work() {
            wake.notified().await;
        }
    }

    fn has_work(&self) -> bool {
        self.shared.queue().has_work(self.duty)
            || (self.duty != Duty::Large && !self.shared.probes().is_empty())
    }

    /// Borrows a connection and flies until there is nothing to do, or the connection should go back.
    ///
    /// Dropped by a panic alone: the connection goes back when the server has ended, and those whose keys were sent hear
    /// that their answer is lost.
    async fn work(&mut self) {
        let share = match self.duty {
            Duty::Small | Duty::Everything => Share::Lanes,
            Duty::Large => Share::SecondLane,
        };
        let lease = match self.borrow(share).await {
            Ok(lease) => lease,
            // Those who waited for it have gone; others may have come.
            Err(Error::DeadlineExceeded { .. }) => return,
            Err(error) => return self.refuse(error),
        };
        self.shared.guard.met(lease.peer());
        // Those that are ready to run may have keys for this batch too.
        yield_now().await;
        while !self.shared.pool.shutdown().is_cancelled() {
            if self.duty != Duty::Large {
                self.probe(&lease).await;
            }
            let now = Instant::now();
            let mut batches = self.shared.close(self.duty, now);
            // After closing: later than every arrival.
            let closed_at = self.shared.clock.now();
            batches.append(&mut self.carried);
            if batches.is_empty() {
                return;
            }
            self.count(&batches, now);
            let cycle = self.cycle(&lease);
            let later = self.watched(cycle.fly(closed_at, batches)).await;
            self.carried = later;
            if lease.is_worn() || self.duty != Duty::Small {
                // Lists wait for the place of the second lane, and of the only one.
                return;
            }
        }
    }

    /// Answers those who want to know how far the server is. Dropped, they hear that there is no answer.
    async fn probe(&self, lease: &Lease) {
        let probes = std::mem::take(&mut *self.shared.probes());
        if probes.is_empty() {
            return;
        }
        let answer = self.cycle(lease).probe().await;
        for probe in probes {
            let _ = probe.send(answer.clone());
        }
    }

    fn cycle<'a>(&'a self, lease: &'a Lease) -> Cycle<'a, G> {
        Cycle {
            guard: &*self.shared.guard,
            lease,
            policy: &self.shared.policy,
        }
    }

    /// Borrows a connection. Those who were sent before have given up watching the time, so it is watched for them.
    ///
    /// Cancel safe: what is carried over stays, and the connection goes to the next.
    async fn borrow(&mut self, share: Share) -> Result<Lease, Error> {
        let began = Instant::now();
        let lend = self.shared.pool.lend(share);
        let deadlines = self.carried.iter().map(|batch| batch.deadline());
        let Some(deadline) = deadlines.max() else {
            return lend.await;
        };
        if let Ok(lent) = timeout_at(deadline, lend).await {
            return lent;
        }
        let late = self.shared.pool.why_late(share, began);
        for batch in self.carried.drain(..) {
            batch.refuse(&Refused::Failed(late.clone()));
        }
        let waited = began.elapsed();
        Err(Error::DeadlineExceeded { share, waited })
    }

    /// Has the other lane help with small keys while this one's cycle takes too long. Dropped, the flight is dropped with it,
    /// and the other lane's help ends.
    async fn watched(
        &self,
        flight: impl Future<Output = Vec<Box<dyn Batch>>>,
    ) -> Vec<Box<dyn Batch>> {
        if self.duty != Duty::Small {
            return flight.await;
        }
        let mut flight = pin!(flight);
        if let Ok(left) = timeout(self.shared.policy.help_after, &mut flight).await {
            return left;
        }
        let _stuck = Stuck::new(&self.shared);
        flight.await
    }

    /// No connection can be had: those who wait hear so now.
    fn refuse(&mut self, error: Error) {
        self.shared.guard.unreachable(&error);
        if self.duty != Duty::Large {
            self.shared.answer_probes(&Err(error.clone()));
        }
        let refused = match self.shared.pool.role {
            Role::Primary => Refused::Failed(error),
            Role::Replica => Refused::Elsewhere(PrimaryReason::ReplicaFailed),
        };
        for batch in self.carried.drain(..) {
            batch.refuse(&refused);
        }
        self.shared.refuse(self.duty, &refused);
    }

    fn count(&self, batches: &[Box<dyn Batch>], now: Instant) {
        let (metrics, server) = (&self.shared.pool.metrics, self.shared.pool.role);
        let lane = match self.duty {
            Duty::Small | Duty::Everything => LaneName::First,
            Duty::Large => LaneName::Second,
        };
        metrics
            .cycles
            .get_or_create(&LaneLabels { server, lane })
            .inc();
        let waits = metrics
            .lane_wait_seconds
            .get_or_create_owned(&ServerLabel { server });
        for batch in batches {
            let statement = batch.statement().name;
            let labels = StatementLabels { server, statement };
            let keys = u32::try_from(batch.len()).unwrap_or(u32::MAX);
            metrics
                .batch_keys
                .get_or_create(&labels)
                .observe(keys.into());
            metrics
                .keys_shared
                .get_or_create(&labels)
                .inc_by(batch.shared() as u64);
            for arrived in batch.arrivals() {
                let waited = now.saturating_duration_since(arrived);
                waits.observe(waited.as_secs_f64());
            }
        }
    }
}

/// Says that the first lane is stuck for as long as it is.
struct Stuck<'a, G>(&'a Shared<G>);

impl<'a, G> Stuck<'a, G> {
    fn new(shared: &'a Shared<G>) -> Self {
        if shared.queue().set_stuck(true) {
            shared.wake(Duty::Large);
        }
        Self(shared)
    }
}

impl<G> Drop for Stuck<'_, G> {
    fn drop(&mut self) {
        self.0.queue().set_stuck(false);
    }
}

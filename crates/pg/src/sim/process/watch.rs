//! Who finds out how far a replica is, while somebody needs to know; as `router::watch` does it.

use std::{rc::Rc, time::Duration};

use super::{Process, replica::Answer};
use crate::sim::engine::Instant;

impl Process {
    /// `router::watch`.
    pub(super) async fn watches(self: Rc<Self>, place: usize) {
        let replica = &self.replicas[place];
        let mut seen = 0;
        // `Budget`: so many a second, and a few at once after a rest.
        let every =
            self.clock.takes(Duration::from_secs(1)) / u64::from(self.policy.probes_per_second);
        let burst = every * u64::from(self.policy.probes_at_once);
        let mut spent_until: Instant = 0;
        loop {
            if replica.watched.count() == seen {
                replica.watched.raised_since(seen, None).await;
            }
            let mut pause = self.policy.first_probe;
            loop {
                self.world
                    .engine
                    .sleep_until(spent_until.saturating_sub(burst))
                    .await;
                spent_until = spent_until.max(self.world.now()) + every;
                self.step().await;
                seen = replica.watched.count();
                self.probe(place).await;
                if self.waiting.get() == 0 {
                    break;
                }
                let until: Instant = self.world.now() + self.clock.takes(pause).max(1);
                replica.watched.raised_since(seen, Some(until)).await;
                if replica.watched.count() == seen {
                    pause = (pause * 2).min(self.policy.last_probe);
                } else {
                    pause = self.policy.first_probe;
                }
            }
        }
    }

    pub(super) async fn probe(&self, place: usize) {
        let replica = &self.replicas[place];
        let connection = match self.to_replica(&replica.probes, place).await {
            Ok(connection) => connection,
            Err(error) => return replica.sight.failed(&error),
        };
        let Ok(answer) = self.ask(place, &connection).await else {
            replica.probes.close();
            return replica.sight.lost(&crate::Error::NotPrimary);
        };
        let Answer {
            replayed, standing, ..
        } = answer;
        replica
            .sight
            .observe(&connection.peer, &replayed, &standing);
        self.news.raise();
    }
}

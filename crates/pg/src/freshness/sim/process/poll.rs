//! The poller, as `router::poller` does it: one poll in flight, and only while somebody reads.

use std::{rc::Rc, time::Duration};

use super::{Process, connection::Line};
use crate::freshness::floor::Floor;
use crate::freshness::sim::{cluster::Lost, mutants::Mutant};

impl Process {
    pub(super) async fn polls(self: Rc<Self>) {
        let line = Line::default();
        loop {
            let wanted = self.poll_wanted.count();
            if self.world.now() > self.polls_until.get() {
                self.poll_wanted.raised_since(wanted, None).await;
                self.step().await;
            }
            let began = self.now();
            let outcome = self.poll(&line).await;
            self.poll_sent.set(None);
            if outcome.is_err() {
                line.close();
                self.knowledge.primary_failed(began);
            }
            let (from, to) = self.policy.period;
            let micros = |duration: Duration| self.clock.takes(duration);
            let pause = self.world.engine.between(micros(from), micros(to));
            // Even a poll that takes no time is not followed by another one at once.
            let next = self.world.now() + 1;
            let until = self.world.now() + pause;
            if outcome.is_ok() {
                let seen = self.poll_wanted.count();
                self.poll_wanted.raised_since(seen, Some(until)).await;
            } else {
                self.world.engine.sleep_until(until).await;
            }
            self.world.engine.sleep_until(next).await;
            self.step().await;
        }
    }

    async fn poll(&self, line: &Line) -> Result<(), Lost> {
        let world = &self.world;
        let connection = self.to_primary(line).await?;
        let sent_at = self.now();
        self.poll_sent.set(Some(sent_at));
        self.step().await;
        world.travel().await;
        let server = world.primary_of(connection.session)?;
        let mut now = world.ask_now(server, self.number).await?;
        world.travel().await;
        self.step().await;
        if self.is(Mutant::EpochInTheHookAlone) {
            now.standing.epoch = connection.epoch;
        } else if !now.standing.is_primary() {
            return Err(Lost);
        }
        let sent_at = if self.is(Mutant::PollTimedAtItsAnswer) {
            self.now()
        } else {
            sent_at
        };
        self.knowledge.note_silence(now.silence);
        let floor = self.bend(now.into_floor(sent_at));
        self.floors.borrow_mut().push(floor.clone());
        self.knowledge.add_floor(floor);
        self.news.raise();
        Ok(())
    }

    /// Breaks rules about floors.
    fn bend(&self, mut floor: Floor) -> Floor {
        if self.is(Mutant::NoLeaseAge) {
            floor.lease = Duration::from_hours(1);
        } else if self.is(Mutant::LeaseLongerThanSilence) {
            floor.lease = Duration::from_millis(700);
        } else if self.is(Mutant::LeaseIncludesItsEnd) {
            floor.lease += Duration::from_nanos(1);
        } else if self.is(Mutant::ServersOutsideTheFloor) {
            let cluster = self.world.cluster.borrow();
            floor.members = cluster
                .servers
                .iter()
                .map(|server| server.id.clone())
                .collect();
        }
        floor
    }
}

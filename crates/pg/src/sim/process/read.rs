//! Reads: arrive, wait in a lane, travel in a batch, are held against a floor; as `lane` and `router::replica` do it.

use std::{cell::RefCell, rc::Rc, time::Duration};

use super::{
    Process,
    connection::{Connection, Line},
    replica::Answer,
};
use crate::{
    freshness::clock::Moment,
    lane::guard::Verdict,
    router::{ServedBy, sight::Claim},
    sim::{
        checker::By,
        cluster::{KEYS, Lost, Snapshot},
        engine::{Engine, MS, Signal},
        mutants::Mutant,
    },
};

/// Somebody who waits for the version of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    key: usize,
    /// When it arrived, as the history counts.
    began: usize,
}

/// An answer kept by a mutant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cached {
    key: usize,
    version: u64,
    at: Moment,
}

/// The requests that wait for one server.
pub(super) struct Lane {
    queue: RefCell<Vec<Request>>,
    came: Signal,
    line: Line,
    /// Who joined what was under way, in a mutant; `None`: nothing is.
    joined: RefCell<Option<Vec<Request>>>,
}

impl Lane {
    pub(super) fn new(engine: &Rc<Engine>) -> Self {
        Self {
            queue: RefCell::default(),
            came: Signal::new(engine),
            line: Line::default(),
            joined: RefCell::default(),
        }
    }

    fn push(&self, request: Request) {
        self.queue.borrow_mut().push(request);
        self.came.raise();
    }

    async fn comes(&self) {
        while self.queue.borrow().is_empty() {
            let seen = self.came.count();
            self.came.raised_since(seen, None).await;
        }
    }

    fn close(&self) -> Vec<Request> {
        self.queue.take()
    }
}

impl Process {
    /// Clients that read.
    pub(super) async fn reads(self: Rc<Self>) {
        loop {
            self.pause(0, 25 * MS).await;
            let request = Request {
                key: self.world.engine.place(KEYS),
                began: self.world.history.borrow().begin(),
            };
            if !self.answered_by_a_mutant(request) {
                self.arrives(request);
            }
        }
    }

    /// `Servers::pick`.
    fn arrives(&self, request: Request) {
        let polled = self.world.now() <= self.polls_until.get();
        self.polls_until
            .set(self.world.now() + self.clock.takes(self.policy.active));
        if !polled {
            self.poll_wanted.raise();
            return self.primary.push(request);
        }
        let mut good = Vec::new();
        for (place, replica) in self.replicas.iter().enumerate() {
            if replica.sight.resting().is_none() {
                good.push(place);
            } else {
                replica.watched.raise();
            }
        }
        if good.is_empty() {
            return self.primary.push(request);
        }
        let lane = &self.replicas[self.world.engine.one_of(&good)].lane;
        if self.is(Mutant::JoinsSentQuery)
            && let Some(joined) = &mut *lane.joined.borrow_mut()
        {
            return joined.push(request);
        }
        lane.push(request);
    }

    fn answered_by_a_mutant(&self, request: Request) -> bool {
        if self.is(Mutant::TagCache) {
            let now = self.now();
            let mut cache = self.cache.borrow_mut();
            cache.retain(|cached| now.since(cached.at) < Duration::from_millis(50));
            let found = cache.iter().find(|cached| cached.key == request.key);
            if let Some(found) = found {
                let mut history = self.world.history.borrow_mut();
                history.answered(request.key, found.version, request.began, By::Replica);
                return true;
            }
        }
        false
    }

    fn deliver(&self, request: Request, state: &Snapshot, by: By) {
        let version = state.versions[request.key];
        let mut history = self.world.history.borrow_mut();
        history.answered(request.key, version, request.began, by);
        if by == By::Replica && version < self.world.cluster.borrow().last_of(request.key) {
            history.tally.behind_but_right += 1;
        }
        if self.is(Mutant::TagCache) {
            self.cache.borrow_mut().push(Cached {
                key: request.key,
                version,
                at: self.now(),
            });
        }
    }

    fn elsewhere(&self, batch: Vec<Request>) {
        for request in batch {
            self.primary.push(request);
        }
    }

    /// The lane of replica `place`.
    pub(super) async fn flies(self: Rc<Self>, place: usize) {
        let replica = &self.replicas[place];
        let lane = &replica.lane;
        loop {
            lane.comes().await;
            self.step().await;
            let connection = match self.to_replica(&lane.line, place).await {
                Ok(connection) => connection,
                Err(error) => {
                    replica.sight.failed(&error);
                    self.elsewhere(lane.close());
                    continue;
                }
            };
            self.step().await;
            let batch = lane.close();
            let closed_at = self.now();
            self.step().await;
            let batch = self.fly(place, &connection, closed_at, batch).await;
            self.elsewhere(batch);
            let joined = lane.joined.take().unwrap_or_default();
            self.elsewhere(joined);
            if self.world.engine.chance(4) {
                // It has come of age.
                lane.line.close();
            }
        }
    }

    /// One cycle. Returns who must be answered elsewhere.
    async fn fly(
        &self,
        place: usize,
        connection: &Connection,
        closed_at: Moment,
        mut batch: Vec<Request>,
    ) -> Vec<Request> {
        let replica = &self.replicas[place];
        let claim = if self.is(Mutant::ReadAnyForPresence) {
            Claim::Stale
        } else {
            match self.claim(place, connection, closed_at).await {
                Some(claim) => claim,
                None => return batch,
            }
        };
        if self.is(Mutant::LateJoinerOfClosedBatch) {
            batch.append(&mut replica.lane.close());
        }
        for attempt in 0.. {
            if self.is(Mutant::JoinsSentQuery) {
                replica.lane.joined.borrow_mut().get_or_insert_default();
            }
            let Ok(answer) = self.ask(place, connection).await else {
                replica.lane.line.close();
                replica.sight.lost(&crate::Error::NotPrimary);
                return batch;
            };
            let Answer {
                replayed,
                mut standing,
                state,
            } = answer;
            replica
                .sight
                .observe(&connection.peer, &replayed, &standing);
            self.news.raise();
            if (self.is(Mutant::EpochDroppedOnRead) || self.is(Mutant::BeaconWithoutEpoch))
                && let Claim::Floor(floor) = &claim
            {
                standing.epoch = floor.epoch;
            }
            let peer = &connection.peer;
            match replica
                .sight
                .judge(&claim, peer, &replayed, &[standing], attempt)
            {
                Verdict::Accept(by) => {
                    let by = match by {
                        ServedBy::Stale { .. } if !self.is(Mutant::ReadAnyForPresence) => By::Stale,
                        _ => By::Replica,
                    };
                    let joined = replica.lane.joined.take().unwrap_or_default();
                    for request in batch.drain(..).chain(joined) {
                        self.deliver(request, &state, by);
                    }
                    return batch;
                }
                Verdict::Again(pause) => self.sleep(pause).await,
                Verdict::Elsewhere(_) => {
                    self.world.count(|tally| &mut tally.refused);
                    return batch;
                }
                Verdict::Hangup => {
                    replica.lane.line.close();
                    return batch;
                }
            }
        }
        batch
    }

    /// `ReplicaGuard::claim`.
    async fn claim(
        &self,
        place: usize,
        connection: &Connection,
        closed_at: Moment,
    ) -> Option<Claim> {
        let sight = &self.replicas[place].sight;
        let peer = &connection.peer;
        if self.is(Mutant::NewestMembersForOldFloor) {
            let floors = self.floors.borrow();
            let newest = floors.last()?;
            let old = floors.iter().find(|floor| {
                floor.epoch == newest.epoch
                    && floor.is_in_lease(closed_at)
                    && floor.sent_at > peer.opened_at
                    && newest.members.contains(&peer.server)
            });
            return old.cloned().map(Claim::Floor);
        }
        if let Some(claim) = sight.claim(closed_at, peer) {
            return Some(claim);
        }
        // A poll that has been sent may be joined by a mutant only.
        let after = match self.poll_sent.get() {
            Some(sent_at) if self.is(Mutant::JoinsSentPoll) && sent_at < closed_at => {
                let boot = Moment::after_boot(Duration::ZERO);
                boot + sent_at.since(boot + Duration::from_nanos(1))
            }
            _ => closed_at,
        };
        let until = self.world.now() + self.clock.takes(Duration::from_millis(250));
        loop {
            let seen = self.news.count();
            if let Some(floor) = self.knowledge.floor_sent_after(after) {
                return sight.claim_anew(floor, peer).ok();
            }
            if self.world.now() >= until {
                return None;
            }
            self.poll_wanted.raise();
            self.news.raised_since(seen, Some(until)).await;
            self.step().await;
        }
    }

    /// The lane of the primary: whoever was sent here, and the standing of each answer.
    pub(super) async fn flies_on_primary(self: Rc<Self>) {
        loop {
            self.primary.comes().await;
            self.step().await;
            let Ok(connection) = self.to_primary(&self.primary.line).await else {
                self.primary.line.close();
                // Those who wait get an error, which promises nothing.
                self.primary.close();
                continue;
            };
            self.step().await;
            let batch = self.primary.close();
            if self.fly_on_primary(&connection, batch).await.is_err() {
                self.primary.line.close();
            }
        }
    }

    async fn fly_on_primary(
        &self,
        connection: &Connection,
        batch: Vec<Request>,
    ) -> Result<(), Lost> {
        let world = &self.world;
        world.travel().await;
        let server = world.primary_of(connection.session)?;
        let (state, standing) = {
            let mut cluster = world.cluster.borrow_mut();
            (cluster.snapshot(server), cluster.standing(server))
        };
        world.travel().await;
        self.step().await;
        if !self.is(Mutant::EpochInTheHookAlone) {
            if !standing.is_primary() {
                return Err(Lost);
            }
            self.knowledge.note_epoch(standing.epoch);
            self.news.raise();
        }
        for request in batch {
            self.deliver(request, &state, By::Primary);
        }
        Ok(())
    }
}

//! Floors: what the primary had acknowledged at one moment, good for a while.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use uuid::Uuid;

use super::clock::Moment;

/// How far a server is: a position in the log, or the value of this process's beacon. Comparable within one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark(pub(crate) u64);

/// One history of the database: drawn anew when another server becomes the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Epoch(pub(crate) Uuid);

/// What a server reports of itself: address, port and system identifier. Two endpoints may lead to one server, and one
/// endpoint to several.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ServerId(Arc<str>);

impl ServerId {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one statement on the primary said. Its parts are only ever used together: the member list of a newer floor
/// says nothing about the position of an older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Floor {
    /// When the poll was *sent*: whatever was flushed before is covered.
    pub(crate) sent_at: Moment,
    /// Everything acknowledged before [`Floor::sent_at`] lies at or below this.
    pub(crate) mark: Mark,
    /// Whose positions these are.
    pub(crate) epoch: Epoch,
    /// The servers for whose sake writers wait.
    pub(crate) members: Arc<[ServerId]>,
    /// How long it may be used (`s_r` of the answer that made it).
    pub(crate) lease: Duration,
}

impl Floor {
    /// Whether a read that arrived no later than `closed_at` may rely on it.
    ///
    /// Strict, and signed: a floor younger than the read always counts.
    pub(crate) fn is_in_lease(&self, closed_at: Moment) -> bool {
        closed_at.since(self.sent_at) < self.lease
    }

    /// Whether it speaks about `server` as seen through a connection opened at `opened_at`.
    ///
    /// A server's visible state goes back when it restarts, and an observation made before does not hold after; a
    /// restart ends the connection. So the floor must be younger than the connection, strictly.
    pub(crate) fn covers(&self, server: &ServerId, opened_at: Moment) -> bool {
        self.sent_at > opened_at && self.members.contains(server)
    }
}

/// The floors still in lease, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    ring: VecDeque<Floor>,
}

/// Most floors kept. A lease of 400 ms at a poll every 50 ms makes eight; a longer lease keeps its oldest and newest.
const FLOORS_MAX: usize = 32;

impl Floors {
    /// Adds the floor of a poll. Floors of another epoch go: nobody may compare with them any more.
    pub(crate) fn add(&mut self, floor: Floor) {
        self.ring.retain(|other| other.epoch == floor.epoch);
        if self.ring.len() == FLOORS_MAX {
            // Not the oldest, which is the one that a lagging replica meets.
            self.ring.remove(FLOORS_MAX / 2);
        }
        self.ring.push_back(floor);
    }

    /// Forgets the floors whose lease has ended.
    pub(crate) fn expire(&mut self, now: Moment) {
        self.ring.retain(|floor| floor.is_in_lease(now));
    }

    /// A floor for reads that arrived no later than `closed_at`, asked of `server` through a connection opened at
    /// `opened_at`: the oldest one that fits, because a replica that lags meets it first.
    pub(crate) fn candidate(
        &self,
        closed_at: Moment,
        server: &ServerId,
        opened_at: Moment,
    ) -> Option<&Floor> {
        self.ring
            .iter()
            .find(|floor| floor.is_in_lease(closed_at) && floor.covers(server, opened_at))
    }

    /// The newest floor.
    pub(crate) fn newest(&self) -> Option<&Floor> {
        self.ring.back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(400);

    fn at(milliseconds: u64) -> Moment {
        Moment::after_boot(Duration::from_millis(milliseconds))
    }

    fn floor(sent_at: u64, mark: u64) -> Floor {
        Floor {
            sent_at: at(sent_at),
            mark: Mark(mark),
            epoch: Epoch(Uuid::from_u128(1)),
            members: [ServerId::new("a")].into(),
            lease: LEASE,
        }
    }

    #[test]
    fn a_floor_serves_until_its_lease_ends_and_not_at_its_end() {
        let floor = floor(100, 7);
        assert!(floor.is_in_lease(at(499)));
        assert!(!floor.is_in_lease(at(500)));
        assert!(floor.is_in_lease(at(50)), "a younger floor counts");
    }

    #[test]
    fn a_floor_as_old_as_the_connection_does_not_count() {
        let floor = floor(100, 7);
        let (a, b) = (ServerId::new("a"), ServerId::new("b"));
        assert!(floor.covers(&a, at(99)));
        assert!(!floor.covers(&a, at(100)));
        assert!(!floor.covers(&b, at(99)));
    }

    #[test]
    fn the_oldest_floor_that_fits_is_taken() {
        let mut floors = Floors::default();
        for (sent_at, mark) in [(0, 1), (100, 2), (200, 3)] {
            floors.add(floor(sent_at, mark));
        }
        let a = ServerId::new("a");
        let taken = |closed_at, opened_at| {
            let floor = floors.candidate(at(closed_at), &a, at(opened_at));
            floor.map(|floor| floor.mark)
        };
        assert_eq!(taken(450, 50), Some(Mark(2)));
        assert_eq!(taken(550, 50), Some(Mark(3)));
        assert_eq!(taken(300, 150), Some(Mark(3)));
        assert_eq!(taken(600, 50), None);
    }

    #[test]
    fn a_new_epoch_ends_the_floors_of_the_old_one() {
        let mut floors = Floors::default();
        floors.add(floor(0, 1));
        let mut other = floor(10, 2);
        other.epoch = Epoch(Uuid::from_u128(2));
        floors.add(other.clone());
        assert_eq!(floors.ring, [other]);
    }

    #[test]
    fn the_ring_is_bounded_and_keeps_its_ends() {
        let mut floors = Floors::default();
        for n in 0..1_000 {
            floors.add(floor(n, n));
        }
        assert_eq!(floors.ring.len(), FLOORS_MAX);
        assert_eq!(floors.ring.front().map(|floor| floor.mark), Some(Mark(0)));
        assert_eq!(floors.newest().map(|floor| floor.mark), Some(Mark(999)));
    }
}

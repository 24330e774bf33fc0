//! How long ago a replica was up to date.
//!
//! The difference of positions says bytes, and the time of the last replayed transaction says nothing while nobody
//! writes (an idle cluster showed 266 s while 96 bytes behind). What the polls of the primary leave behind says time:
//! a replica at some position was up to date before the first poll that found the primary beyond it.

use std::{collections::VecDeque, time::Duration};

use super::{
    clock::Moment,
    floor::{Epoch, Floor, Mark},
};

/// Positions of the primary over the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    epoch: Option<Epoch>,
    /// The oldest first; each position with the moment at which it was seen first.
    seen: VecDeque<(Moment, Mark)>,
}

/// Positions kept: half a minute of polls every 50 ms.
const TRAIL_MAX: usize = 600;

impl Trail {
    /// Adds what a poll found.
    pub(crate) fn add(&mut self, floor: &Floor) {
        if self.epoch != Some(floor.epoch) {
            self.seen.clear();
            self.epoch = Some(floor.epoch);
        }
        // While nobody writes nothing is added, so a pause does not make a replica look late.
        if self
            .seen
            .back()
            .is_some_and(|(_, mark)| *mark >= floor.mark)
        {
            return;
        }
        if self.seen.len() == TRAIL_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back((floor.sent_at, floor.mark));
    }

    /// How far a server at `mark` is behind at `now`: at least so long, and at most a poll period longer.
    pub(crate) fn behind(&self, mark: Mark, now: Moment) -> Duration {
        self.seen
            .iter()
            .find(|(_, seen)| *seen > mark)
            .map_or(Duration::ZERO, |(at, _)| now.since(*at))
    }

    /// How many bytes (or beats of the beacon) a server at `mark` is behind.
    pub(crate) fn distance(&self, mark: Mark) -> u64 {
        self.seen
            .back()
            .map_or(0, |(_, newest)| newest.0.saturating_sub(mark.0))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::after_boot(Duration::from_millis(milliseconds))
    }

    fn floor(sent_at: u64, mark: u64) -> Floor {
        Floor {
            sent_at: at(sent_at),
            mark: Mark(mark),
            epoch: Epoch(Uuid::from_u128(1)),
            members: [].into(),
            lease: Duration::from_millis(400),
        }
    }

    #[test]
    fn lag_counts_from_the_first_poll_beyond_the_replica() {
        let mut trail = Trail::default();
        for (sent_at, mark) in [(0, 10), (100, 20), (200, 20), (300, 30)] {
            trail.add(&floor(sent_at, mark));
        }
        let behind = |mark| trail.behind(Mark(mark), at(400)).as_millis();
        assert_eq!(behind(30), 0);
        assert_eq!(behind(25), 100);
        assert_eq!(behind(10), 300);
        assert_eq!(behind(5), 400);
        assert_eq!(trail.distance(Mark(25)), 5);
    }

    #[test]
    fn an_idle_primary_makes_nobody_late() {
        let mut trail = Trail::default();
        trail.add(&floor(0, 10));
        trail.add(&floor(60_000, 10));
        assert_eq!(trail.behind(Mark(10), at(60_001)), Duration::ZERO);
    }
}

//! How long ago a replica was up to date.
//!
//! The difference of positions says bytes, and the time of the last replayed transaction says nothing while nobody
//! writes (an idle cluster showed 266 s while 96 bytes behind). What the polls of the primary leave behind says time,
//! from both sides: a replica at some position lacks what the first poll beyond it found, and nothing that was there
//! when the last poll was sent that was not beyond it.

use std::{collections::VecDeque, time::Duration};

use super::{
    clock::Moment,
    floor::{Epoch, Floor, Mark},
};

/// Positions of the primary in one history, since this process heard of it first.
///
/// What is old is kept more coarsely: two positions are an eighth of their age apart, at most, unless nobody asked
/// between them. So it reaches back to its beginning, however long that is, and is never wrong, but less exact.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    epoch: Option<Epoch>,
    /// The oldest first.
    seen: VecDeque<Seen>,
}

/// One position of the primary.
#[derive(Debug, Clone, Copy)]
struct Seen {
    mark: Mark,
    /// When the first poll that found it was sent.
    first: Moment,
    /// When the last one was.
    last: Moment,
}

/// Positions kept. At an eighth of their age apart, a year of polls every 50 ms leaves 300 when the trail is thinned.
const TRAIL_MAX: usize = 600;
/// How exact an age is: to this part of it.
const EXACTNESS: u32 = 8;

impl Trail {
    /// Adds what a poll found.
    pub(crate) fn add(&mut self, floor: &Floor) {
        if self.epoch != Some(floor.epoch) {
            self.seen.clear();
            self.epoch = Some(floor.epoch);
        }
        // While nobody writes nothing is added, so a pause does not make a replica look late.
        if let Some(newest) = self.seen.back_mut()
            && newest.mark >= floor.mark
        {
            newest.last = newest.last.max(floor.sent_at);
            return;
        }
        if self.seen.len() == TRAIL_MAX {
            self.thin(floor.sent_at);
        }
        self.seen.push_back(Seen {
            mark: floor.mark,
            first: floor.sent_at,
            last: floor.sent_at,
        });
    }

    /// Drops what is nearer to its neighbours than its age asks for. The first position stays: nothing is known of what
    /// lies before.
    fn thin(&mut self, now: Moment) {
        let all: Vec<Seen> = self.seen.drain(..).collect();
        for (index, seen) in all.iter().enumerate() {
            let is_needed = match (self.seen.back(), all.get(index + 1)) {
                (Some(before), Some(after)) => {
                    after.first.since(before.last) > now.since(after.first) / EXACTNESS
                }
                _ => true,
            };
            if is_needed {
                self.seen.push_back(*seen);
            }
        }
        // More than lifetimes of polls: what is missing makes an age too large, and never too small.
        if self.seen.len() == TRAIL_MAX {
            self.seen.remove(1);
        }
    }

    /// For how long, at least, a server of `epoch` at `mark` has been behind; `None` if nothing is known of `epoch`.
    pub(crate) fn behind(&self, epoch: Epoch, mark: Mark, now: Moment) -> Option<Duration> {
        let seen = self.of(epoch)?;
        let missing = seen.iter().find(|seen| seen.mark > mark);
        Some(missing.map_or(Duration::ZERO, |seen| now.since(seen.first)))
    }

    /// How old, at most, what a server of `epoch` at `mark` shows is; `None` if nobody can tell.
    pub(crate) fn age(&self, epoch: Epoch, mark: Mark, now: Moment) -> Option<Duration> {
        let seen = self.of(epoch).into_iter().flatten();
        let shown = seen.take_while(|seen| seen.mark <= mark).last();
        shown.map(|seen| now.since(seen.last))
    }

    /// How many bytes (or beats of the beacon) a server of `epoch` at `mark` is behind, where anything is known.
    pub(crate) fn distance(&self, epoch: Epoch, mark: Mark) -> Option<u64> {
        let newest = self.of(epoch)?.back()?;
        Some(newest.mark.0.saturating_sub(mark.0))
    }

    /// Positions of two histories say nothing of each other.
    fn of(&self, epoch: Epoch) -> Option<&VecDeque<Seen>> {
        (self.epoch == Some(epoch)).then_some(&self.seen)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const E: Epoch = Epoch(Uuid::from_u128(1));
    const HOUR: u64 = 3_600_000;

    fn at(milliseconds: u64) -> Moment {
        Moment::after_boot(Duration::from_millis(milliseconds))
    }

    fn floor(sent_at: u64, mark: u64) -> Floor {
        Floor {
            sent_at: at(sent_at),
            mark: Mark(mark),
            epoch: E,
            members: [].into(),
            lease: Duration::from_millis(400),
        }
    }

    fn trail(polls: impl IntoIterator<Item = (u64, u64)>) -> Trail {
        let mut trail = Trail::default();
        for (sent_at, mark) in polls {
            trail.add(&floor(sent_at, mark));
        }
        trail
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn lag_counts_from_the_first_poll_beyond_the_replica() {
        let trail = trail([(0, 10), (100, 20), (200, 20), (300, 30)]);
        let behind = |mark| {
            let behind = trail.behind(E, Mark(mark), at(400));
            behind.expect("of this history").as_millis()
        };
        assert_eq!(behind(30), 0);
        assert_eq!(behind(25), 100);
        assert_eq!(behind(10), 300);
        assert_eq!(behind(5), 400);
        assert_eq!(trail.distance(E, Mark(25)), Some(5));
    }

    #[test]
    fn age_counts_from_the_last_poll_that_was_not_beyond_the_replica() {
        let trail = trail([(0, 10), (100, 20), (200, 20), (300, 30)]);
        let age = |mark| trail.age(E, Mark(mark), at(400));
        assert_eq!(age(31), Some(ms(100)));
        assert_eq!(age(25), Some(ms(200)));
        assert_eq!(age(10), Some(ms(400)));
        assert_eq!(age(9), None);
    }

    #[test]
    fn nothing_is_known_of_another_history_or_before_the_first_poll() {
        let other = Epoch(Uuid::from_u128(2));
        let trail = trail([(0, 10)]);
        assert_eq!(trail.age(other, Mark(10), at(1)), None);
        assert_eq!(trail.behind(other, Mark(10), at(1)), None);
        assert_eq!(trail.distance(other, Mark(10)), None);
        let empty = Trail::default();
        assert_eq!(empty.age(E, Mark(10), at(1)), None);
        assert_eq!(empty.distance(E, Mark(10)), None);
    }

    #[test]
    fn an_idle_primary_makes_nobody_late() {
        let trail = trail([(0, 10), (60_000, 10)]);
        let now = at(60_001);
        assert_eq!(trail.behind(E, Mark(10), now), Some(Duration::ZERO));
        assert_eq!(trail.age(E, Mark(10), now), Some(ms(1)));
    }

    #[test]
    fn whatever_is_dropped_ages_are_exact_to_an_eighth_and_never_too_small() {
        // A day and an hour of writes, polled ten times a second; a mark says when it was written.
        let end = 25 * HOUR;
        let trail = trail((0..=end).step_by(100).map(|time| (time, time)));
        assert!(trail.seen.len() <= TRAIL_MAX);
        for late in [100, 1_000, 10_000, 60_000, 900_000, HOUR, 24 * HOUR, end] {
            let mark = Mark(end - late);
            let Some(age) = trail.age(E, mark, at(end)) else {
                panic!("{late} ms is within the trail");
            };
            let (age, late) = (age.as_millis(), u128::from(late));
            assert!(
                (late..=late + late / 8 + 100).contains(&age),
                "{age} for {late}"
            );
            let behind = trail.behind(E, mark, at(end)).expect("of this history");
            let behind = behind.as_millis();
            assert!(
                ((late - late / 8).saturating_sub(100)..=late).contains(&behind),
                "{behind} for {late}"
            );
        }
    }
}

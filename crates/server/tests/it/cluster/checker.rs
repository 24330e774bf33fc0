//! Goes through a history once and says what should not have happened.
//!
//! It knows nothing of replicas or leases, only what was promised: an acknowledged push is seen by every read that
//! begins later. Each tag has one writer, who numbers its pushes; a push that failed may have happened or not.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// A tag, by its number.
pub(crate) type Tag = usize;

/// Something, and how long after the beginning it happened.
pub(crate) type Happened = (Duration, Event);

/// Something that happened. The order of a history is that of real time: what begins is noted before it is sent, what
/// ends is noted after it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A push of this version is sent.
    PushBegan { tag: Tag, version: u64 },
    /// It was answered with success.
    PushAcknowledged { tag: Tag, version: u64 },
    /// A pull is sent; `read` is its own number.
    PullBegan { tag: Tag, read: u64 },
    /// It was answered with this version, by this process.
    PullAnswered {
        read: u64,
        version: u64,
        process: usize,
    },
    /// The same with a `Warning` that changes of the last `age` may be missing.
    PullAnsweredStale {
        read: u64,
        version: u64,
        process: usize,
        age: Duration,
    },
    /// From now on this process may find that the primary does not answer.
    PrimaryLost { process: usize },
    /// From now on it can reach it.
    PrimaryBack { process: usize },
}

/// What should not have happened, at which place in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A read saw less than had been acknowledged before it began; one that was said to be stale, less than had been
    /// acknowledged before the oldest moment that it may show.
    Stale {
        at: usize,
        tag: Tag,
        process: usize,
        seen: u64,
        acknowledged: u64,
    },
    /// An answer was said to be stale by a process that could reach the primary.
    StaleForNothing { at: usize, tag: Tag, process: usize },
    /// An answer was said to be older than any may be.
    TooOld {
        at: usize,
        tag: Tag,
        process: usize,
        age: Duration,
    },
    /// A read saw what nobody had pushed.
    FromNowhere { at: usize, tag: Tag, seen: u64 },
    /// A writer was told of an older version after a newer one.
    Backwards { at: usize, tag: Tag, version: u64 },
}

/// How long a process may take to notice that the primary is back: a back-off of a second at most, a pooler's own of a
/// second before that, and a dial and a poll on two busy cores.
const NOTICED_WITHIN: Duration = Duration::from_secs(3);

/// What a process does not know of the time: the age is counted on its own clock, from the middle of a request.
const SLACK: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Clone)]
struct Known {
    begun: u64,
    /// Greater and greater.
    acknowledged: Vec<(Duration, u64)>,
}

impl Known {
    /// The newest version that had been acknowledged then.
    fn acknowledged_at(&self, then: Duration) -> u64 {
        let after = self.acknowledged.partition_point(|(at, _)| *at <= then);
        self.acknowledged[..after].last().map_or(0, |(_, v)| *v)
    }

    fn newest(&self) -> u64 {
        self.acknowledged.last().map_or(0, |(_, version)| *version)
    }
}

/// A pull that is not answered yet.
#[derive(Debug, Clone, Copy)]
struct Asked {
    tag: Tag,
    began: Duration,
    /// What had been acknowledged then.
    floor: u64,
}

/// Checks a history in one pass. `max_stale` is how old the answers of a process without the primary may be.
pub(crate) fn check(history: &[Happened], max_stale: Duration) -> Vec<Violation> {
    let mut tags = HashMap::<Tag, Known>::new();
    let mut reads = HashMap::<u64, Asked>::new();
    // When each process that lost the primary had it again, the last time.
    let mut lost = HashMap::<usize, Option<Duration>>::new();
    let mut violations = Vec::new();
    for (at, (now, event)) in history.iter().enumerate() {
        let (read, seen, process, age) = match *event {
            Event::PushBegan { tag, version } => {
                let known = tags.entry(tag).or_default();
                known.begun = known.begun.max(version);
                continue;
            }
            Event::PushAcknowledged { tag, version } => {
                let known = tags.entry(tag).or_default();
                if version <= known.newest() || version > known.begun {
                    violations.push(Violation::Backwards { at, tag, version });
                } else {
                    known.acknowledged.push((*now, version));
                }
                continue;
            }
            Event::PullBegan { tag, read } => {
                let floor = tags.get(&tag).map_or(0, Known::newest);
                let began = *now;
                reads.insert(read, Asked { tag, began, floor });
                continue;
            }
            Event::PrimaryLost { process } => {
                lost.insert(process, None);
                continue;
            }
            Event::PrimaryBack { process } => {
                lost.insert(process, Some(*now));
                continue;
            }
            Event::PullAnswered {
                read,
                version,
                process,
            } => (read, version, process, None),
            Event::PullAnsweredStale {
                read,
                version,
                process,
                age,
            } => (read, version, process, Some(age)),
        };
        let Asked { tag, began, floor } = reads.remove(&read).expect("what is answered began");
        let known = tags.entry(tag).or_default();
        let acknowledged = match age {
            None => floor,
            Some(_) => known.acknowledged_at(began.saturating_sub(max_stale + SLACK)),
        };
        if seen < acknowledged {
            violations.push(Violation::Stale {
                at,
                tag,
                process,
                seen,
                acknowledged,
            });
        }
        if seen > known.begun {
            violations.push(Violation::FromNowhere { at, tag, seen });
        }
        let Some(age) = age else { continue };
        let excused = match lost.get(&process) {
            None => false,
            Some(None) => true,
            Some(Some(back)) => began <= *back + NOTICED_WITHIN,
        };
        if !excused {
            violations.push(Violation::StaleForNothing { at, tag, process });
        }
        if age > max_stale + SLACK {
            violations.push(Violation::TooOld {
                at,
                tag,
                process,
                age,
            });
        }
    }
    violations
}

/// What came before a violation and is about its tag, for people.
pub(crate) fn excerpt(history: &[Happened], violation: &Violation) -> String {
    const BEFORE: usize = 300;
    let (at, tag) = match *violation {
        Violation::Stale { at, tag, .. }
        | Violation::StaleForNothing { at, tag, .. }
        | Violation::TooOld { at, tag, .. }
        | Violation::FromNowhere { at, tag, .. }
        | Violation::Backwards { at, tag, .. } => (at, tag),
    };
    let mut reads = HashSet::new();
    let about = history[at.saturating_sub(BEFORE)..=at]
        .iter()
        .filter(|(_, event)| match *event {
            Event::PushBegan { tag: of, .. } | Event::PushAcknowledged { tag: of, .. } => of == tag,
            Event::PullBegan { tag: of, read } => of == tag && reads.insert(read),
            Event::PullAnswered { read, .. } | Event::PullAnsweredStale { read, .. } => {
                reads.contains(&read)
            }
            Event::PrimaryLost { .. } | Event::PrimaryBack { .. } => true,
        });
    let about: Vec<_> = about.collect();
    format!("{violation:?} after {about:#?}")
}

#[cfg(test)]
mod tests {
    use super::Event::{
        PrimaryBack, PrimaryLost, PullAnswered, PullAnsweredStale, PullBegan, PushAcknowledged,
        PushBegan,
    };
    use super::*;

    const TAG: Tag = 3;

    fn pushed(version: u64) -> [Event; 2] {
        [
            PushBegan { tag: TAG, version },
            PushAcknowledged { tag: TAG, version },
        ]
    }

    const MAX_STALE: Duration = Duration::from_secs(3);

    /// Each a moment after the one before.
    fn in_time(events: &[Event]) -> Vec<Happened> {
        let times = (0..).map(Duration::from_millis);
        times.zip(events.iter().copied()).collect()
    }

    /// Checks what happened moments after each other.
    fn check(events: &[Event]) -> Vec<Violation> {
        super::check(&in_time(events), MAX_STALE)
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn stale(read: u64, version: u64, age: u64) -> Event {
        PullAnsweredStale {
            read,
            version,
            process: 1,
            age: at(age),
        }
    }

    /// Two versions, the second acknowledged at 2 s; the primary is lost at 10 s.
    fn before_the_loss() -> Vec<Happened> {
        let [begun, acknowledged] = pushed(1);
        let [again, twice] = pushed(2);
        vec![
            (at(1), begun),
            (at(1), acknowledged),
            (at(2), again),
            (at(2), twice),
            (at(10), PrimaryLost { process: 1 }),
        ]
    }

    fn after_the_loss(events: &[Happened]) -> Vec<Violation> {
        super::check(&[&before_the_loss()[..], events].concat(), MAX_STALE)
    }

    #[test]
    fn what_is_said_to_be_stale_may_lack_what_is_young() {
        let [begun, acknowledged] = pushed(3);
        let young = [
            (at(12), begun),
            (at(12), acknowledged),
            (at(13), began(0)),
            (at(13), stale(0, 2, 3)),
        ];
        assert_eq!(after_the_loss(&young), []);
    }

    #[test]
    fn what_is_said_to_be_stale_may_not_lack_what_is_old() {
        let old = [(at(13), began(0)), (at(13), stale(0, 1, 3))];
        assert!(matches!(
            after_the_loss(&old)[..],
            [Violation::Stale {
                acknowledged: 2,
                ..
            }]
        ));
        let too_old = [(at(13), began(0)), (at(13), stale(0, 2, 5))];
        assert!(matches!(
            after_the_loss(&too_old)[..],
            [Violation::TooOld { .. }]
        ));
    }

    #[test]
    fn only_who_has_lost_the_primary_may_say_that_an_answer_is_stale() {
        let back = (at(15), PrimaryBack { process: 1 });
        let soon = [back, (at(17), began(0)), (at(17), stale(0, 2, 3))];
        assert_eq!(after_the_loss(&soon), []);
        let late = [back, (at(19), began(0)), (at(19), stale(0, 2, 3))];
        assert!(matches!(
            after_the_loss(&late)[..],
            [Violation::StaleForNothing { .. }]
        ));
        let never = [&pushed(1)[..], &[began(0), stale(0, 1, 1)]].concat();
        assert!(matches!(
            check(&never)[..],
            [Violation::StaleForNothing { .. }]
        ));
    }

    #[test]
    fn what_is_not_said_to_be_stale_is_not_while_the_primary_is_lost() {
        let fresh = [(at(11), began(0)), (at(11), saw(0, 1))];
        assert!(matches!(
            after_the_loss(&fresh)[..],
            [Violation::Stale { .. }]
        ));
    }

    fn began(read: u64) -> Event {
        PullBegan { tag: TAG, read }
    }

    fn saw(read: u64, version: u64) -> Event {
        PullAnswered {
            read,
            version,
            process: 1,
        }
    }

    #[test]
    fn what_was_acknowledged_before_is_seen() {
        let history = [
            &pushed(1)[..],
            &[began(0), saw(0, 1)],
            &pushed(2),
            &[began(1), saw(1, 2)],
        ];
        assert_eq!(check(&history.concat()), []);
    }

    #[test]
    fn a_planted_stale_read_is_found() {
        let history = [&pushed(1)[..], &pushed(2), &[began(0), saw(0, 1)]].concat();
        let stale = Violation::Stale {
            at: 5,
            tag: TAG,
            process: 1,
            seen: 1,
            acknowledged: 2,
        };
        assert_eq!(check(&history), std::slice::from_ref(&stale));
        assert!(excerpt(&in_time(&history), &stale).contains("PushAcknowledged"));
    }

    #[test]
    fn a_stale_read_that_takes_long_is_found() {
        let history = [
            &pushed(1)[..],
            &pushed(2),
            &[began(0)],
            &pushed(3),
            &[saw(0, 1)],
        ]
        .concat();
        assert_eq!(check(&history).len(), 1);
    }

    #[test]
    fn a_push_that_is_not_answered_yet_may_be_seen_or_not() {
        let push = PushBegan {
            tag: TAG,
            version: 2,
        };
        let reads = [began(0), began(1), saw(0, 2), saw(1, 1)];
        assert_eq!(check(&[&pushed(1)[..], &[push], &reads].concat()), []);
    }

    #[test]
    fn a_read_that_began_before_the_acknowledgement_may_miss_it() {
        let history = [&pushed(1)[..], &[began(0)], &pushed(2), &[saw(0, 1)]];
        assert_eq!(check(&history.concat()), []);
    }

    #[test]
    fn what_nobody_pushed_is_not_seen() {
        let history = [&pushed(1)[..], &[began(0), saw(0, 2)]].concat();
        let nowhere = Violation::FromNowhere {
            at: 3,
            tag: TAG,
            seen: 2,
        };
        assert_eq!(check(&history), [nowhere]);
    }

    #[test]
    fn versions_are_acknowledged_in_order() {
        let late = PushAcknowledged {
            tag: TAG,
            version: 1,
        };
        let history = [&pushed(1)[..], &pushed(2), &[late]].concat();
        assert!(matches!(
            check(&history)[..],
            [Violation::Backwards { at: 4, .. }]
        ));
    }

    #[test]
    fn tags_have_nothing_to_do_with_each_other() {
        let other = PushBegan { tag: 0, version: 9 };
        let history = [&pushed(1)[..], &[other, began(0), saw(0, 1)]];
        assert_eq!(check(&history.concat()), []);
    }
}

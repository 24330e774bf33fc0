//! Goes through a history once and says what should not have happened.
//!
//! It knows nothing of replicas or leases, only what was promised: an acknowledged push is seen by every read that
//! begins later. Each tag has one writer, who numbers its pushes; a push that failed may have happened or not.

use std::collections::{HashMap, HashSet};

/// A tag, by its number.
pub(crate) type Tag = usize;

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
}

/// What should not have happened, at which place in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A read saw less than had been acknowledged before it began.
    Stale {
        at: usize,
        tag: Tag,
        process: usize,
        seen: u64,
        acknowledged: u64,
    },
    /// A read saw what nobody had pushed.
    FromNowhere { at: usize, tag: Tag, seen: u64 },
    /// A writer was told of an older version after a newer one.
    Backwards { at: usize, tag: Tag, version: u64 },
}

#[derive(Debug, Default, Clone, Copy)]
struct Known {
    begun: u64,
    acknowledged: u64,
}

/// Checks a history in one pass.
pub(crate) fn check(history: &[Event]) -> Vec<Violation> {
    let mut tags = HashMap::<Tag, Known>::new();
    let mut reads = HashMap::<u64, (Tag, u64)>::new();
    let mut violations = Vec::new();
    for (at, event) in history.iter().enumerate() {
        match *event {
            Event::PushBegan { tag, version } => {
                let known = tags.entry(tag).or_default();
                known.begun = known.begun.max(version);
            }
            Event::PushAcknowledged { tag, version } => {
                let known = tags.entry(tag).or_default();
                if version <= known.acknowledged || version > known.begun {
                    violations.push(Violation::Backwards { at, tag, version });
                }
                known.acknowledged = known.acknowledged.max(version);
            }
            Event::PullBegan { tag, read } => {
                let floor = tags.get(&tag).map_or(0, |known| known.acknowledged);
                reads.insert(read, (tag, floor));
            }
            Event::PullAnswered {
                read,
                version: seen,
                process,
            } => {
                let (tag, acknowledged) = reads.remove(&read).expect("what is answered began");
                let begun = tags.get(&tag).map_or(0, |known| known.begun);
                if seen < acknowledged {
                    violations.push(Violation::Stale {
                        at,
                        tag,
                        process,
                        seen,
                        acknowledged,
                    });
                }
                if seen > begun {
                    violations.push(Violation::FromNowhere { at, tag, seen });
                }
            }
        }
    }
    violations
}

/// What came before a violation and is about its tag, for people.
pub(crate) fn excerpt(history: &[Event], violation: &Violation) -> String {
    const BEFORE: usize = 300;
    let (at, tag) = match *violation {
        Violation::Stale { at, tag, .. }
        | Violation::FromNowhere { at, tag, .. }
        | Violation::Backwards { at, tag, .. } => (at, tag),
    };
    let mut reads = HashSet::new();
    let about = history[at.saturating_sub(BEFORE)..=at]
        .iter()
        .filter(|event| match **event {
            Event::PushBegan { tag: of, .. } | Event::PushAcknowledged { tag: of, .. } => of == tag,
            Event::PullBegan { tag: of, read } => of == tag && reads.insert(read),
            Event::PullAnswered { read, .. } => reads.contains(&read),
        });
    let about: Vec<_> = about.collect();
    format!("{violation:?} after {about:#?}")
}

#[cfg(test)]
mod tests {
    use super::Event::{PullAnswered, PullBegan, PushAcknowledged, PushBegan};
    use super::*;

    const TAG: Tag = 3;

    fn pushed(version: u64) -> [Event; 2] {
        [
            PushBegan { tag: TAG, version },
            PushAcknowledged { tag: TAG, version },
        ]
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
        assert!(excerpt(&history, &stale).contains("PushAcknowledged"));
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

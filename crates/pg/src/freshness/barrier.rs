//! When a write may be acknowledged: when no reader that relies on a floor can miss it any more.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    clock::Moment,
    floor::{Epoch, Mark, ServerId},
};

/// How the writers of a cluster come to know that they may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledge {
    /// As soon as every server that may serve shows the write, or by the timer.
    Observe,
    /// By the timer alone.
    Timer,
}

/// What the primary said right after COMMIT, in a statement of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AfterCommit {
    /// When COMMIT had returned.
    pub(crate) committed_at: Moment,
    /// The write lies at or below this.
    pub(crate) mark: Mark,
    /// The history that it is part of.
    pub(crate) epoch: Epoch,
    /// Servers that may still serve reads, those being drained included.
    pub(crate) members: Arc<[ServerId]>,
    /// How long until every floor that does not cover the write has ended.
    pub(crate) silence: Duration,
    /// What the cluster goes by.
    pub(crate) acknowledge: Acknowledge,
}

/// What a process knows of the epoch: which, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownEpoch {
    /// The epoch read last.
    pub(crate) epoch: Epoch,
    /// When this process read it first.
    pub(crate) since: Moment,
}

impl KnownEpoch {
    /// Notes that `epoch` was read at `now`. Returns whether it is another one than before.
    pub(crate) fn note(known: &mut Option<Self>, epoch: Epoch, now: Moment) -> bool {
        match known {
            Some(known) if known.epoch == epoch => false,
            _ => {
                *known = Some(Self { epoch, since: now });
                true
            }
        }
    }
}

/// How far a replica was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observation {
    /// How far.
    pub(crate) mark: Mark,
    /// In which epoch.
    pub(crate) epoch: Epoch,
    /// Whether it was a standby then.
    pub(crate) in_recovery: bool,
}

/// The last observation of each server.
pub(crate) type Observations = HashMap<ServerId, Observation>;

/// What to do about a write that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Tell the client.
    Acknowledged,
    /// Ask again when something new was observed, and then at the latest.
    Wait {
        /// When the timer answers.
        until: Moment,
    },
    /// The epoch has changed since: the write may be gone with the old primary.
    PerhapsLost,
}

impl AfterCommit {
    /// Decides, from what is known at `now`.
    ///
    /// By observation only when this process has known the epoch for the whole silence: floors of an older epoch may
    /// list servers that the new primary has never heard of.
    pub(crate) fn judge(
        &self,
        now: Moment,
        known: &KnownEpoch,
        observed: &Observations,
    ) -> Verdict {
        if known.epoch != self.epoch {
            return Verdict::PerhapsLost;
        }
        let timer = self.committed_at + self.silence;
        if now >= timer {
            return Verdict::Acknowledged;
        }
        let knows_epoch_from = known.since + self.silence;
        if self.acknowledge == Acknowledge::Timer || !self.is_shown_by_all(observed) {
            Verdict::Wait { until: timer }
        } else if now >= knows_epoch_from {
            Verdict::Acknowledged
        } else {
            Verdict::Wait {
                until: timer.min(knows_epoch_from),
            }
        }
    }

    /// The servers that have not been seen to show the write.
    pub(crate) fn missing<'a>(
        &'a self,
        observed: &'a Observations,
    ) -> impl Iterator<Item = &'a ServerId> {
        self.members.iter().filter(|server| {
            !observed
                .get(*server)
                .is_some_and(|seen| self.is_shown(seen))
        })
    }

    fn is_shown_by_all(&self, observed: &Observations) -> bool {
        self.missing(observed).next().is_none()
    }

    fn is_shown(&self, seen: &Observation) -> bool {
        seen.in_recovery && seen.epoch == self.epoch && seen.mark >= self.mark
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const S: Duration = Duration::from_millis(500);
    const E: Epoch = Epoch(Uuid::from_u128(1));

    fn at(milliseconds: u64) -> Moment {
        Moment::after_boot(Duration::from_millis(milliseconds))
    }

    fn write(members: &[&str]) -> AfterCommit {
        AfterCommit {
            committed_at: at(1_000),
            mark: Mark(10),
            epoch: E,
            members: members.iter().map(|id| ServerId::new(id)).collect(),
            silence: S,
            acknowledge: Acknowledge::Observe,
        }
    }

    fn known(since: u64) -> KnownEpoch {
        KnownEpoch {
            epoch: E,
            since: at(since),
        }
    }

    fn seen(mark: u64) -> Observations {
        let observation = Observation {
            mark: Mark(mark),
            epoch: E,
            in_recovery: true,
        };
        HashMap::from([(ServerId::new("a"), observation)])
    }

    #[test]
    fn without_replicas_a_write_waits_only_right_after_a_new_epoch() {
        let none = Observations::new();
        let write = write(&[]);
        assert_eq!(
            write.judge(at(1_000), &known(0), &none),
            Verdict::Acknowledged
        );
        assert_eq!(
            write.judge(at(1_000), &known(900), &none),
            Verdict::Wait { until: at(1_400) }
        );
    }

    #[test]
    fn every_member_must_show_the_write() {
        let (all, some) = (write(&["a"]), write(&["a", "b"]));
        let timer = Verdict::Wait { until: at(1_500) };
        assert_eq!(all.judge(at(1_001), &known(0), &seen(9)), timer);
        assert_eq!(
            all.judge(at(1_001), &known(0), &seen(10)),
            Verdict::Acknowledged
        );
        assert_eq!(some.judge(at(1_001), &known(0), &seen(10)), timer);
        assert_eq!(
            some.judge(at(1_500), &known(0), &seen(10)),
            Verdict::Acknowledged
        );
    }

    #[test]
    fn where_the_timer_rules_observation_counts_for_nothing() {
        let mut write = write(&[]);
        write.acknowledge = Acknowledge::Timer;
        assert_eq!(
            write.judge(at(1_001), &known(0), &seen(10)),
            Verdict::Wait { until: at(1_500) }
        );
    }

    #[test]
    fn a_write_of_another_epoch_is_looked_for_and_never_answered_by_the_timer() {
        let other = KnownEpoch {
            epoch: Epoch(Uuid::from_u128(2)),
            since: at(1_100),
        };
        assert_eq!(
            write(&["a"]).judge(at(9_000), &other, &seen(10)),
            Verdict::PerhapsLost
        );
    }
}

//! The judge of a run. It knows nothing of floors, marks or epochs: only what clients were told, in which order.

use super::cluster::KEYS;

/// Who answered a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Primary,
    Replica,
    /// A replica without proof, and said so: promises nothing.
    Stale,
}

/// How a write came to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Observed,
    Timer,
}

/// What clients have seen. The place of an event in the list is its time.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// Whoever asked was told that `key` is at `version`, and that it stays.
    Acknowledged { key: usize, version: u64 },
    /// A read was answered that had begun when there were `began` events.
    Answered {
        key: usize,
        version: u64,
        began: usize,
    },
    /// A failover without a synchronous standby has lost the versions between these.
    Lost { key: usize, from: u64, to: u64 },
}

/// A read that went back behind what had been acknowledged before it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) key: usize,
    pub(super) acknowledged: u64,
    pub(super) answered: u64,
}

/// A history under way, and its counts.
#[derive(Debug, Default)]
pub(super) struct History {
    events: Vec<Event>,
    pub(super) tally: Tally,
}

/// What has happened how often: a run in which nothing happens proves nothing.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) steps: u64,
    pub(super) reads_of_replicas: u64,
    pub(super) reads_of_primary: u64,
    pub(super) stale_reads: u64,
    /// Reads of a replica that did not show the newest version there was: what leases allow, and locks would not.
    pub(super) behind_but_right: u64,
    pub(super) observed: u64,
    pub(super) timed: u64,
    pub(super) confirmed: u64,
    pub(super) perhaps_lost: u64,
    pub(super) failovers: u64,
    pub(super) restarts: u64,
    pub(super) pauses: u64,
    pub(super) moves: u64,
    pub(super) outs: u64,
    pub(super) swaps: u64,
    pub(super) refused: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        let Self {
            steps,
            reads_of_replicas,
            reads_of_primary,
            stale_reads,
            behind_but_right,
            observed,
            timed,
            confirmed,
            perhaps_lost,
            failovers,
            restarts,
            pauses,
            moves,
            outs,
            swaps,
            refused,
        } = *other;
        self.steps += steps;
        self.reads_of_replicas += reads_of_replicas;
        self.reads_of_primary += reads_of_primary;
        self.stale_reads += stale_reads;
        self.behind_but_right += behind_but_right;
        self.observed += observed;
        self.timed += timed;
        self.confirmed += confirmed;
        self.perhaps_lost += perhaps_lost;
        self.failovers += failovers;
        self.restarts += restarts;
        self.pauses += pauses;
        self.moves += moves;
        self.outs += outs;
        self.swaps += swaps;
        self.refused += refused;
    }
}

impl History {
    /// A read begins: give this back with its answer.
    pub(super) fn begin(&self) -> usize {
        self.events.len()
    }

    pub(super) fn answered(&mut self, key: usize, version: u64, began: usize, by: By) {
        match by {
            By::Primary => self.tally.reads_of_primary += 1,
            By::Replica => self.tally.reads_of_replicas += 1,
            By::Stale => {
                self.tally.stale_reads += 1;
                return;
            }
        }
        self.events.push(Event::Answered {
            key,
            version,
            began,
        });
    }

    pub(super) fn acknowledged(&mut self, key: usize, version: u64, how: How) {
        match how {
            How::Observed => self.tally.observed += 1,
            How::Timer => self.tally.timed += 1,
        }
        self.events.push(Event::Acknowledged { key, version });
    }

    pub(super) fn lost(&mut self, key: usize, from: u64, to: u64) {
        self.events.push(Event::Lost { key, from, to });
    }

    /// The first violation, in time linear in the history.
    pub(super) fn check(&self) -> Option<Violation> {
        let mut lost: [Vec<(u64, u64)>; KEYS] = Default::default();
        for event in &self.events {
            if let Event::Lost { key, from, to } = *event {
                lost[key].push((from, to));
            }
        }
        // What had to be shown once so many events had happened.
        let mut needed: Vec<[u64; KEYS]> = Vec::with_capacity(self.events.len() + 1);
        let mut newest = [0; KEYS];
        for event in &self.events {
            needed.push(newest);
            match *event {
                Event::Acknowledged { key, version } => {
                    let kept = |(from, to): &(u64, u64)| version < *from || version > *to;
                    if lost[key].iter().all(kept) {
                        newest[key] = newest[key].max(version);
                    }
                }
                Event::Answered {
                    key,
                    version,
                    began,
                } => {
                    let acknowledged = needed[began][key];
                    if version < acknowledged {
                        return Some(Violation {
                            key,
                            acknowledged,
                            answered: version,
                        });
                    }
                }
                Event::Lost { .. } => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_began_before_the_acknowledgement_may_miss_it_and_a_later_one_may_not() {
        let mut history = History::default();
        let before = history.begin();
        history.acknowledged(0, 7, How::Timer);
        history.answered(0, 6, before, By::Replica);
        assert_eq!(history.check(), None);
        let after = history.begin();
        history.answered(1, 0, after, By::Replica);
        history.answered(0, 6, after, By::Stale);
        assert_eq!(history.check(), None);
        history.answered(0, 6, after, By::Primary);
        let violation = Violation {
            key: 0,
            acknowledged: 7,
            answered: 6,
        };
        assert_eq!(history.check(), Some(violation));
    }

    #[test]
    fn what_a_failover_has_lost_is_not_asked_for() {
        let mut history = History::default();
        history.acknowledged(0, 5, How::Timer);
        history.acknowledged(0, 7, How::Timer);
        history.lost(0, 6, 7);
        let began = history.begin();
        history.answered(0, 5, began, By::Replica);
        assert_eq!(history.check(), None);
        history.answered(0, 4, began, By::Replica);
        assert!(history.check().is_some());
    }
}

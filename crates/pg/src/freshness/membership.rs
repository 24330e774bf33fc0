//! Which replicas writers wait for: who is taken out of service, and who comes back.
//!
//! A replica that answers nobody, or too late, would make every write wait for the timer for ever after. So it is
//! drained: no new floor lists it, but writers wait for it still; a silence later no floor is left that does, and it
//! is out. What one process alone sees is its own trouble and moves nobody.

use std::{collections::HashSet, time::Duration};

use uuid::Uuid;

use super::floor::ServerId;

/// What is wrong with a replica, as one process sees it; or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fitness {
    /// A standby of this epoch, less than a silence behind.
    Fit,
    /// More than a silence behind.
    Behind,
    /// No standby: promoted, or never one.
    NotInRecovery,
    /// It follows another primary than ours.
    OtherEpoch,
    /// It does not answer.
    Unreachable,
}

impl Fitness {
    /// The word in the database.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Fit => "fit",
            Self::Behind => "behind",
            Self::NotInRecovery => "not_in_recovery",
            Self::OtherEpoch => "other_epoch",
            Self::Unreachable => "unreachable",
        }
    }

    /// Reads the word in the database.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [
            Self::Fit,
            Self::Behind,
            Self::NotInRecovery,
            Self::OtherEpoch,
            Self::Unreachable,
        ]
        .into_iter()
        .find(|fitness| fitness.as_str() == word)
    }
}

/// Whether a server is in service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Floors list it and writers wait for it.
    Serving,
    /// Floors made from now on do not list it; writers still wait.
    Draining {
        /// Whose drain it is.
        token: Uuid,
    },
    /// Nobody reads from it and nobody waits for it.
    Out,
}

/// A server's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Which server.
    pub(crate) server: ServerId,
    /// Its state.
    pub(crate) service: Service,
    /// How long it has been in that state.
    pub(crate) for_time: Duration,
    /// How long ago it left service, each time that is remembered.
    pub(crate) left: Vec<Duration>,
}

/// What one process last wrote about one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vote {
    /// About which server.
    pub(crate) server: ServerId,
    /// By which process.
    pub(crate) process: Uuid,
    /// What it found.
    pub(crate) fitness: Fitness,
    /// For how long it has been finding that.
    pub(crate) for_time: Duration,
    /// How long ago it wrote.
    pub(crate) age: Duration,
}

/// A change of one server's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Move {
    /// Begin to take it out of service.
    Drain {
        /// Which.
        server: ServerId,
        /// Whether it may be the last one that serves: not if it is merely out of reach.
        even_the_last: bool,
    },
    /// Go on with a drain that its process has abandoned; the wait begins anew.
    Adopt {
        /// Which.
        server: ServerId,
        /// The token that it has.
        token: Uuid,
    },
    /// Put it back into service.
    Return {
        /// Which.
        server: ServerId,
    },
}

/// A process whose vote is older than this has gone, or is idle: it takes part in no majority. Five renewals.
const VOTE_COUNTS_FOR: Duration = Duration::from_secs(10);
/// How long a fault must last before it moves a server: longer than a restart of a network device or a pause of a
/// process, short enough that writes wait for a dead replica for seconds only.
const FAULT_LASTS: Duration = Duration::from_secs(3);
/// A server about which nobody has written for so long is nobody's.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
/// How long a server must have been fit before it comes back.
const FIT_FOR: Duration = Duration::from_secs(10);
/// A server that left this often within [`FLAPS_WITHIN`] stays out for [`FLAPPING_REST`].
const FLAPS: usize = 5;
const FLAPS_WITHIN: Duration = Duration::from_mins(1);
const FLAPPING_REST: Duration = Duration::from_mins(5);
/// A drain that has not ended so long after its wait should have ended was abandoned by a process that died.
const ABANDONED_AFTER: Duration = Duration::from_secs(5);

/// Decides which rows to change. `silence` is the time that a drain waits.
pub(crate) fn moves(members: &[Member], votes: &[Vote], silence: Duration) -> Vec<Move> {
    let live = processes(votes);
    members
        .iter()
        .filter_map(|member| {
            let about: Vec<&Vote> = votes
                .iter()
                .filter(|vote| vote.server == member.server)
                .collect();
            member.next_move(&about, live, silence)
        })
        .collect()
}

/// How many processes other than `process` find `server` fit now.
pub(crate) fn found_fit(votes: &[Vote], server: &ServerId, process: Uuid) -> usize {
    let fit = |vote: &&Vote| {
        vote.server == *server
            && vote.process != process
            && vote.fitness == Fitness::Fit
            && vote.age <= VOTE_COUNTS_FOR
    };
    votes.iter().filter(fit).count()
}

/// How many processes take part.
fn processes(votes: &[Vote]) -> usize {
    let live: HashSet<Uuid> = votes
        .iter()
        .filter(|vote| vote.age <= VOTE_COUNTS_FOR)
        .map(|vote| vote.process)
        .collect();
    live.len()
}

impl Member {
    fn next_move(&self, votes: &[&Vote], live: usize, silence: Duration) -> Option<Move> {
        let server = || self.server.clone();
        let majority = |matches: &dyn Fn(&Vote) -> bool| {
            let agreeing = votes
                .iter()
                .filter(|vote| vote.age <= VOTE_COUNTS_FOR && matches(vote))
                .count();
            agreeing * 2 > live
        };
        match self.service {
            Service::Serving => {
                let lasting = |vote: &Vote| vote.for_time >= FAULT_LASTS;
                let unfit = |vote: &Vote| vote.fitness != Fitness::Fit && lasting(vote);
                let wrong = |vote: &Vote| unfit(vote) && vote.fitness != Fitness::Unreachable;
                let forgotten = votes.iter().all(|vote| vote.age > FORGOTTEN_AFTER)
                    && self.for_time > FORGOTTEN_AFTER;
                let even_the_last = forgotten || majority(&wrong);
                (even_the_last || majority(&unfit)).then(|| Move::Drain {
                    server: server(),
                    even_the_last,
                })
            }
            Service::Draining { token } => {
                (self.for_time > silence + ABANDONED_AFTER).then(|| Move::Adopt {
                    server: server(),
                    token,
                })
            }
            Service::Out => {
                let fit = |vote: &Vote| vote.fitness == Fitness::Fit && vote.for_time >= FIT_FOR;
                (majority(&fit) && !self.must_rest()).then(|| Move::Return { server: server() })
            }
        }
    }

    /// Whether it has come and gone too often lately.
    fn must_rest(&self) -> bool {
        let Some(last) = self.left.iter().min() else {
            return false;
        };
        let flaps = self
            .left
            .iter()
            .filter(|left| **left <= *last + FLAPS_WITHIN)
            .count();
        flaps >= FLAPS && *last < FLAPPING_REST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_millis(500);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn member(name: &str, service: Service) -> Member {
        Member {
            server: ServerId::new(name),
            service,
            for_time: seconds(100),
            left: Vec::new(),
        }
    }

    fn vote(server: &str, process: u128, fitness: Fitness, for_seconds: u64) -> Vote {
        Vote {
            server: ServerId::new(server),
            process: Uuid::from_u128(process),
            fitness,
            for_time: seconds(for_seconds),
            age: seconds(1),
        }
    }

    fn drain(server: &str, even_the_last: bool) -> Move {
        Move::Drain {
            server: ServerId::new(server),
            even_the_last,
        }
    }

    #[test]
    fn a_minority_drains_nobody() {
        let members = [member("a", Service::Serving)];
        let mut votes = vec![
            vote("a", 1, Fitness::Unreachable, 9),
            vote("a", 2, Fitness::Fit, 9),
        ];
        assert_eq!(moves(&members, &votes, S), []);
        votes.push(vote("a", 3, Fitness::Unreachable, 9));
        assert_eq!(moves(&members, &votes, S), [drain("a", false)]);
        // Processes that have gone do not count.
        votes[0].age = seconds(11);
        assert_eq!(moves(&members, &votes, S), []);
    }

    #[test]
    fn a_fault_must_last() {
        let members = [member("a", Service::Serving)];
        assert_eq!(moves(&members, &[vote("a", 1, Fitness::Behind, 2)], S), []);
        assert_eq!(
            moves(&members, &[vote("a", 1, Fitness::Behind, 3)], S),
            [drain("a", true)]
        );
    }

    #[test]
    fn the_last_one_goes_for_what_it_is_and_not_for_being_out_of_reach() {
        let members = [member("a", Service::Serving)];
        for (fitness, even_the_last) in [
            (Fitness::Unreachable, false),
            (Fitness::NotInRecovery, true),
            (Fitness::OtherEpoch, true),
        ] {
            let votes = [vote("a", 1, fitness, 5)];
            assert_eq!(moves(&members, &votes, S), [drain("a", even_the_last)]);
        }
    }

    #[test]
    fn a_server_that_nobody_knows_goes() {
        let members = [member("a", Service::Serving)];
        assert_eq!(moves(&members, &[], S), [drain("a", true)]);
        let mut young = members;
        young[0].for_time = seconds(20);
        assert_eq!(moves(&young, &[], S), []);
    }

    #[test]
    fn an_abandoned_drain_is_adopted() {
        let token = Uuid::from_u128(9);
        let mut members = [member("a", Service::Draining { token })];
        let adopt = Move::Adopt {
            server: ServerId::new("a"),
            token,
        };
        assert_eq!(moves(&members, &[], S), [adopt]);
        members[0].for_time = seconds(5);
        assert_eq!(moves(&members, &[], S), []);
    }

    #[test]
    fn a_server_comes_back_when_it_has_been_fit_and_does_not_flap() {
        let back = Move::Return {
            server: ServerId::new("a"),
        };
        let mut members = [member("a", Service::Out)];
        let short = [vote("a", 1, Fitness::Fit, 9)];
        assert_eq!(moves(&members, &short, S), []);
        let long = [vote("a", 1, Fitness::Fit, 10)];
        assert_eq!(moves(&members, &long, S), std::slice::from_ref(&back));
        members[0].left = [10, 20, 30, 40, 50].map(seconds).to_vec();
        assert_eq!(moves(&members, &long, S), []);
        members[0].left = [300, 310, 320, 330, 340].map(seconds).to_vec();
        assert_eq!(moves(&members, &long, S), [back]);
    }
}

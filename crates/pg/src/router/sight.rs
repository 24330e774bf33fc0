//! What one process makes of one replica's answers, without I/O: what a batch is held against, whether its answers may
//! be handed out, whether reads should be tried there at all, and what the other processes are told of it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    error::{DialError, Error},
    freshness::{
        barrier::Observation,
        clock::Moment,
        floor::{Floor, ServerId},
        membership::Fitness,
        proof::{Proof, Refusal},
    },
    identify::Peer,
    lane::guard::{Standing, Verdict},
    metrics::PrimaryReason,
    policy::FloorPolicy,
    protocol::Replayed,
    router::{ServedBy, knowledge::Knowledge, signpost::Signpost},
};

/// How long a replica that was just not far enough is given before the proof is asked for again, and then once more.
/// Replay of what has arrived takes a quarter of a millisecond at the median and 14 at the 99th percentile under load:
/// longer waits would cost a request more than the primary does.
const PATIENCE: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(5)];

/// A replica in the eyes of this process.
#[derive(Debug)]
pub(crate) struct Sight {
    /// Its address, for people.
    name: String,
    knowledge: Arc<Knowledge>,
    /// Whether a floor serves more than the batch that it was asked for.
    keeps_floors: bool,
    /// How long the primary must have been silent before answers without a proof are handed out; `None`: never.
    stale_after: Option<Duration>,
    view: Mutex<View>,
}

/// What was found last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// It met a floor, or was not asked yet.
    Good,
    /// It did not meet its floor: it rests until a probe finds that it would.
    Resting(Refusal),
    /// It could not be reached.
    Unreachable,
}

#[derive(Debug)]
struct View {
    server: Option<ServerId>,
    found: Finding,
    signpost: Signpost,
}

/// What the answers of a cycle are held against.
#[derive(Debug)]
pub(crate) enum Claim {
    /// A floor, and this one alone.
    Floor(Floor),
    /// No floor: the primary is lost.
    Stale,
}

impl Sight {
    pub(crate) fn new(
        name: String,
        knowledge: Arc<Knowledge>,
        keeps_floors: bool,
        policy: &FloorPolicy,
    ) -> Self {
        Self {
            name,
            knowledge,
            keeps_floors,
            stale_after: policy.stale_after,
            view: Mutex::new(View {
                server: None,
                found: Finding::Good,
                signpost: Signpost::new(policy.one_server),
            }),
        }
    }

    /// What a batch that was closed at `closed_at` is held against, seen through a connection to `peer`; `None` if it
    /// needs a floor whose poll is sent after that.
    pub(crate) fn claim(&self, closed_at: Moment, peer: &Peer) -> Option<Claim> {
        if let Some(limit) = self.stale_after
            && self.knowledge.primary_lost(limit).is_some()
        {
            return Some(Claim::Stale);
        }
        if !self.keeps_floors {
            return None;
        }
        let floor = self
            .knowledge
            .candidate(closed_at, &peer.server, peer.opened_at)?;
        Some(Claim::Floor(floor))
    }

    /// The same with a floor whose poll was sent after the batch was closed. Its age does not matter.
    pub(crate) fn claim_anew(&self, floor: Floor, peer: &Peer) -> Result<Claim, PrimaryReason> {
        // A floor of the batch's own needs no member list: no writer waits for it.
        if !self.keeps_floors || floor.covers(&peer.server, peer.opened_at) {
            Ok(Claim::Floor(floor))
        } else {
            Err(PrimaryReason::NotMember)
        }
    }

    /// Judges the answers of the `attempt`-th try (from 0).
    pub(crate) fn judge(
        &self,
        claim: &Claim,
        peer: &Peer,
        replayed: &Replayed,
        standing: &[Standing],
        attempt: u32,
    ) -> Verdict {
        // A pooler in between: the proof and the answer need not be one server's.
        if replayed.backend != peer.backend {
            tracing::error!(server = %peer.server, "a pooler stands before a replica, which must be reached directly");
            return Verdict::Hangup;
        }
        let floor = match claim {
            Claim::Stale => return self.judge_stale(replayed, standing),
            Claim::Floor(floor) => floor,
        };
        let refusal = standing
            .iter()
            .find_map(|standing| meets(floor, replayed, standing).err());
        match refusal {
            None => {
                self.see(Finding::Good);
                Verdict::Accept(ServedBy::Replica)
            }
            Some(Refusal::Behind) => {
                if let Some(pause) = PATIENCE.get(attempt as usize) {
                    Verdict::Again(*pause)
                } else {
                    self.see(Finding::Resting(Refusal::Behind));
                    Verdict::Elsewhere(PrimaryReason::Behind)
                }
            }
            Some(Refusal::NotInRecovery) => {
                self.see(Finding::Resting(Refusal::NotInRecovery));
                Verdict::Hangup
            }
            Some(refusal @ Refusal::OtherEpoch) => {
                self.see(Finding::Resting(refusal));
                Verdict::Elsewhere(reason(refusal))
            }
        }
    }

    /// Without the primary any standby of the last known history will do; how old that is, is for others to weigh.
    fn judge_stale(&self, replayed: &Replayed, standing: &[Standing]) -> Verdict {
        if !replayed.in_recovery || standing.iter().any(|standing| !standing.in_recovery) {
            self.see(Finding::Resting(Refusal::NotInRecovery));
            return Verdict::Hangup;
        }
        let epoch = self.knowledge.epoch();
        let is_other = |standing: &Standing| epoch.is_some_and(|epoch| epoch != standing.epoch);
        if standing.iter().any(is_other) {
            self.see(Finding::Resting(Refusal::OtherEpoch));
            return Verdict::Elsewhere(PrimaryReason::OtherEpoch);
        }
        Verdict::Accept(ServedBy::Stale {
            age: self.knowledge.age(replayed.mark),
        })
    }

    /// A proof has come back, and then `standing` on the same connection: how far the replica is.
    pub(crate) fn observe(&self, peer: &Peer, replayed: &Replayed, standing: &Standing) {
        // Behind a pooler this is another server's position: a write must not be acknowledged by it.
        if replayed.backend != peer.backend {
            return;
        }
        self.meet(peer);
        let mut view = self.view();
        if view.server.as_ref() != Some(&peer.server) {
            view.server = Some(peer.server.clone());
        }
        drop(view);
        let Some(mark) = replayed.mark else {
            return;
        };
        let seen = Observation {
            mark,
            epoch: standing.epoch,
            in_recovery: replayed.in_recovery && standing.in_recovery,
        };
        self.knowledge.observe(&peer.server, seen);
        let found = self.view().found;
        if found == Finding::Good {
            return;
        }
        if self.would_serve(&peer.server, &seen) {
            self.see(Finding::Good);
        } else if found != Finding::Unreachable && self.is_in_its_place(&seen) {
            // Out of service no floor lists it, so that it would serve is never found. It must be found fit all the
            // same, or nobody would put it back.
            self.see(Finding::Resting(Refusal::Behind));
        }
    }

    /// A connection to `peer` was made, borrowed, or answered. What needs no proof is read through connections too: these
    /// count like the others.
    pub(crate) fn meet(&self, peer: &Peer) {
        let now = self.knowledge.now();
        let several = self.view().signpost.met(peer, now);
        if let Some(servers) = several {
            let servers: Vec<_> = servers.iter().map(ServerId::as_str).collect();
            tracing::error!(
                endpoint = self.name,
                servers = servers.join(" "),
                "{} leads to several replicas, and none of them is asked through it: list each replica by its own address",
                self.name
            );
        }
    }

    /// Whether the address leads now to one server and now to another.
    pub(crate) fn leads_to_several(&self) -> bool {
        self.view().signpost.is_several()
    }

    /// Whether a new connection would tell to how many servers the address leads.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.view().signpost.is_doubtful()
    }

    /// Which server it is, once one has answered.
    pub(crate) fn server(&self) -> Option<ServerId> {
        self.view().server.clone()
    }

    /// How far it was seen last.
    pub(crate) fn observation(&self) -> Option<Observation> {
        self.knowledge.observation(&self.server()?)
    }

    /// Whether it may be asked while the primary is lost.
    pub(crate) fn may_serve_stale(&self) -> bool {
        matches!(
            self.view().found,
            Finding::Good | Finding::Resting(Refusal::Behind)
        )
    }

    /// Why no read should be sent to it now, if none should.
    pub(crate) fn resting(&self) -> Option<PrimaryReason> {
        let view = self.view();
        match view.found {
            Finding::Unreachable => Some(PrimaryReason::ReplicaUnreachable),
            _ if view.signpost.is_several() => Some(PrimaryReason::SeveralServers),
            Finding::Good => None,
            Finding::Resting(refusal) => Some(reason(refusal)),
        }
    }

    /// Whether it answered when last asked.
    pub(crate) fn is_reachable(&self) -> bool {
        self.view().found != Finding::Unreachable
    }

    /// A read of it failed. One that is merely busy is as good as before.
    pub(crate) fn failed(&self, error: &Error) {
        if matches!(error, Error::Unavailable { .. }) || error.is_connection_lost() {
            self.lost(error);
        }
    }

    /// It did not answer. Whoever tries again finds out when it does.
    pub(crate) fn lost(&self, error: &Error) {
        let mut view = self.view();
        view.found = match error {
            Error::Unavailable {
                source: DialError::WrongRole { .. },
                ..
            } => Finding::Resting(Refusal::NotInRecovery),
            _ => Finding::Unreachable,
        };
        drop(view);
        if let Some(server) = self.server() {
            self.knowledge.forget(&server);
        }
    }

    /// It was asked, and said nothing in time.
    pub(crate) fn unanswered(&self) {
        self.see(Finding::Unreachable);
    }

    /// What is wrong with it in the eyes of this process, as the others are told.
    pub(crate) fn fitness(&self, silence: Duration) -> Fitness {
        let (found, server) = {
            let view = self.view();
            (view.found, view.server.clone())
        };
        match found {
            Finding::Unreachable => return Fitness::Unreachable,
            Finding::Resting(Refusal::NotInRecovery) => return Fitness::NotInRecovery,
            Finding::Resting(Refusal::OtherEpoch) => return Fitness::OtherEpoch,
            Finding::Resting(Refusal::Behind) | Finding::Good => {}
        }
        let Some(seen) = server.and_then(|server| self.knowledge.observation(&server)) else {
            return Fitness::Unreachable;
        };
        if !seen.in_recovery {
            Fitness::NotInRecovery
        } else if self
            .knowledge
            .epoch()
            .is_some_and(|epoch| epoch != seen.epoch)
        {
            Fitness::OtherEpoch
        } else if self
            .knowledge
            .lag(&seen)
            .is_some_and(|lag| lag.time > silence)
        {
            Fitness::Behind
        } else {
            Fitness::Fit
        }
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, found: Finding) {
        self.view().found = found;
    }

    /// Whether one that rests may be asked again: it would meet a floor that is in lease, or answers again while there
    /// is none to hold it against.
    fn would_serve(&self, server: &ServerId, seen: &Observation) -> bool {
        let unreachable = self.view().found == Finding::Unreachable;
        let meets = if self.keeps_floors {
            self.knowledge.would_serve(server, seen)
        } else {
            // No floor lists anybody, and none is kept for long: the last one says as much as any.
            let proof = Proof {
                mark: seen.mark,
                in_recovery: seen.in_recovery,
                epoch: seen.epoch,
            };
            let newest = self.knowledge.newest_floor();
            newest.is_some_and(|floor| floor.judge(&proof).is_ok())
        };
        meets || (unreachable && seen.in_recovery)
    }

    /// Whether it is a standby of the epoch.
    fn is_in_its_place(&self, seen: &Observation) -> bool {
        seen.in_recovery && self.knowledge.epoch() == Some(seen.epoch)
    }
}

/// Holds one standing and one position against a floor.
fn meets(floor: &Floor, replayed: &Replayed, standing: &Standing) -> Result<(), Refusal> {
    floor.judge(&Proof {
        mark: replayed.mark.ok_or(Refusal::Behind)?,
        in_recovery: replayed.in_recovery && standing.in_recovery,
        epoch: standing.epoch,
    })
}

fn reason(refusal: Refusal) -> PrimaryReason {
    match refusal {
        Refusal::Behind => PrimaryReason::Behind,
        Refusal::OtherEpoch => PrimaryReason::OtherEpoch,
        Refusal::NotInRecovery => PrimaryReason::NotInRecovery,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        freshness::{
            clock::Clock,
            floor::{Epoch, Mark},
        },
        router::Age,
    };

    const E: Epoch = Epoch(Uuid::from_u128(1));

    /// A minute after boot, for ever.
    #[derive(Debug)]
    struct StoppedClock;

    impl Clock for StoppedClock {
        fn now(&self) -> Moment {
            Moment::after_boot(Duration::from_mins(1))
        }
    }

    struct Seen {
        knowledge: Arc<Knowledge>,
        sight: Sight,
        peer: Peer,
    }

    fn seen(keeps_floors: bool) -> Seen {
        let knowledge = Arc::new(Knowledge::new(Arc::new(StoppedClock)));
        Seen {
            sight: Sight::new(
                "replica".to_owned(),
                Arc::clone(&knowledge),
                keeps_floors,
                &FloorPolicy {
                    stale_after: None,
                    ..FloorPolicy::default()
                },
            ),
            knowledge,
            peer: Peer {
                server: ServerId::new("a"),
                opened_at: Moment::after_boot(Duration::from_secs(1)),
                backend: 7,
            },
        }
    }

    fn floor(mark: u64, members: &[&str]) -> Floor {
        Floor {
            sent_at: StoppedClock.now(),
            mark: Mark(mark),
            epoch: E,
            members: members.iter().map(|id| ServerId::new(id)).collect(),
            lease: Duration::from_millis(400),
        }
    }

    fn replayed(mark: u64) -> Replayed {
        Replayed {
            mark: Some(Mark(mark)),
            in_recovery: true,
            backend: 7,
        }
    }

    fn standing(epoch: Epoch) -> Standing {
        Standing {
            in_recovery: true,
            same_history: true,
            epoch,
        }
    }

    #[test]
    fn the_position_of_a_server_behind_a_pooler_is_nobodys() {
        let Seen {
            knowledge,
            sight,
            peer,
        } = seen(true);
        let another = Replayed {
            backend: 8,
            ..replayed(9)
        };
        sight.observe(&peer, &another, &standing(E));
        assert_eq!(knowledge.observation(&peer.server), None);
        sight.observe(&peer, &replayed(9), &standing(E));
        assert!(knowledge.observation(&peer.server).is_some());
    }

    #[test]
    fn a_replica_out_of_service_is_fit_again_when_it_follows_the_new_primary() {
        let Seen {
            knowledge,
            sight,
            peer,
        } = seen(true);
        knowledge.add_floor(floor(5, &[]));
        let claim = Claim::Floor(floor(5, &["a"]));
        let old = standing(Epoch(Uuid::from_u128(9)));
        sight.observe(&peer, &replayed(9), &old);
        sight.judge(&claim, &peer, &replayed(9), &[old], 0);
        let silence = Duration::from_millis(500);
        assert_eq!(sight.fitness(silence), Fitness::OtherEpoch);
        sight.observe(&peer, &replayed(9), &standing(E));
        assert_eq!(sight.fitness(silence), Fitness::Fit);
        assert!(sight.resting().is_some(), "no floor lists it yet");
        knowledge.add_floor(floor(6, &["a"]));
        sight.observe(&peer, &replayed(9), &standing(E));
        assert_eq!(sight.resting(), None);
    }

    #[test]
    fn where_each_batch_has_a_floor_of_its_own_one_that_was_behind_is_asked_again() {
        let Seen {
            knowledge,
            sight,
            peer,
        } = seen(false);
        knowledge.add_floor(floor(5, &[]));
        let claim = Claim::Floor(floor(5, &[]));
        sight.judge(&claim, &peer, &replayed(4), &[standing(E)], 2);
        assert!(sight.resting().is_some());
        sight.observe(&peer, &replayed(4), &standing(E));
        assert!(sight.resting().is_some());
        sight.observe(&peer, &replayed(5), &standing(E));
        assert_eq!(sight.resting(), None);
    }

    #[test]
    fn without_the_primary_a_standby_of_the_last_history_serves_and_its_age_is_never_guessed() {
        let Seen {
            knowledge,
            sight,
            peer,
        } = seen(true);
        let age = |replayed: &Replayed| {
            let verdict = sight.judge(&Claim::Stale, &peer, replayed, &[standing(E)], 0);
            match verdict {
                Verdict::Accept(ServedBy::Stale { age }) => age,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(age(&replayed(9)), Age::Unknown, "no history is known");
        knowledge.add_floor(floor(5, &[]));
        assert_eq!(age(&replayed(9)), Age::AtMost(Duration::ZERO));
        assert_eq!(age(&replayed(4)), Age::Unknown, "older than this process");
        let nowhere = Replayed {
            mark: None,
            ..replayed(9)
        };
        assert_eq!(age(&nowhere), Age::Unknown);
        assert!(sight.may_serve_stale());

        let other = standing(Epoch(Uuid::from_u128(9)));
        let verdict = sight.judge(&Claim::Stale, &peer, &replayed(9), &[other], 0);
        let refused = matches!(verdict, Verdict::Elsewhere(PrimaryReason::OtherEpoch));
        assert!(refused, "{verdict:?}");
        assert!(!sight.may_serve_stale());
        let promoted = Replayed {
            in_recovery: false,
            ..replayed(9)
        };
        let verdict = sight.judge(&Claim::Stale, &peer, &promoted, &[standing(E)], 0);
        assert!(matches!(verdict, Verdict::Hangup), "{verdict:?}");
        // It follows the old history again: nothing better is to be had.
        sight.observe(&peer, &replayed(9), &standing(E));
        assert!(sight.may_serve_stale());
    }
}

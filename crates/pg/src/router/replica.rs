//! One read replica: its connections, its lanes, and what is known of it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_postgres::Row;

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
    lane::{
        Lanes,
        guard::{Guard, Standing, Verdict},
    },
    metrics::PrimaryReason,
    pool::Pool,
    protocol::Replayed,
    router::{ServedBy, knowledge::Knowledge, mode::Freshness, poller::Poller},
    statement::Statement,
};

/// How long a replica that was just not far enough is given before the proof is asked for again, and then once more.
/// Replay of what has arrived takes a quarter of a millisecond at the median and 14 at the 99th percentile under load:
/// longer waits would cost a request more than the primary does.
const PATIENCE: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(5)];

/// A replica and everything that leads to it.
#[derive(Debug)]
pub(crate) struct Replica {
    /// Its place in the configuration.
    pub(crate) index: usize,
    /// Its address, for people.
    pub(crate) name: String,
    pub(crate) pool: Arc<Pool>,
    pub(crate) lanes: Lanes<ReplicaGuard>,
    pub(crate) guard: Arc<ReplicaGuard>,
    /// Somebody needs to know how far it is.
    pub(crate) watched: Notify,
}

impl Replica {
    pub(crate) fn new(
        index: usize,
        name: String,
        pool: Arc<Pool>,
        lanes: Lanes<ReplicaGuard>,
        guard: Arc<ReplicaGuard>,
    ) -> Self {
        Self {
            index,
            name,
            pool,
            lanes,
            guard,
            watched: Notify::new(),
        }
    }
}

/// Decides whether a replica's answers may be handed out.
#[derive(Debug)]
pub(crate) struct ReplicaGuard {
    knowledge: Arc<Knowledge>,
    poller: Arc<Poller>,
    mode: Arc<dyn Freshness>,
    /// How long the primary must have been silent before answers without a proof are handed out; `None`: never.
    stale_after: Option<Duration>,
    view: Mutex<View>,
}

/// What this process sees of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
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
    sight: Sight,
}

/// What the answers of a cycle are held against.
#[derive(Debug)]
pub(crate) enum Claim {
    /// A floor, and this one alone.
    Floor(Floor),
    /// Nothing: the primary has been silent for so long.
    Stale(Duration),
}

impl ReplicaGuard {
    pub(crate) fn new(
        knowledge: Arc<Knowledge>,
        poller: Arc<Poller>,
        mode: Arc<dyn Freshness>,
        stale_after: Option<Duration>,
    ) -> Self {
        Self {
            knowledge,
            poller,
            mode,
            stale_after,
            view: Mutex::new(View {
                server: None,
                sight: Sight::Good,
            }),
        }
    }

    /// Which server it is, once one has answered.
    pub(crate) fn server(&self) -> Option<ServerId> {
        self.view().server.clone()
    }

    /// How far it was seen last.
    pub(crate) fn observation(&self) -> Option<Observation> {
        self.knowledge.observation(&self.server()?)
    }

    /// Why no read should be sent to it now, if none should.
    pub(crate) fn resting(&self) -> Option<PrimaryReason> {
        match self.view().sight {
            Sight::Good => None,
            Sight::Unreachable => Some(PrimaryReason::ReplicaUnreachable),
            Sight::Resting(refusal) => Some(reason(refusal)),
        }
    }

    /// Whether it answered when last asked.
    pub(crate) fn is_reachable(&self) -> bool {
        self.view().sight != Sight::Unreachable
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
        view.sight = match error {
            Error::Unavailable {
                source: DialError::WrongRole { .. },
                ..
            } => Sight::Resting(Refusal::NotInRecovery),
            _ => Sight::Unreachable,
        };
        drop(view);
        if let Some(server) = self.server() {
            self.knowledge.forget(&server);
        }
    }

    /// It was asked, and said nothing in time.
    pub(crate) fn unanswered(&self) {
        self.see(Sight::Unreachable);
    }

    /// What is wrong with it in the eyes of this process, as the others are told.
    pub(crate) fn fitness(&self, silence: Duration) -> Fitness {
        let (sight, server) = {
            let view = self.view();
            (view.sight, view.server.clone())
        };
        match sight {
            Sight::Unreachable => return Fitness::Unreachable,
            Sight::Resting(Refusal::NotInRecovery) => return Fitness::NotInRecovery,
            Sight::Resting(Refusal::OtherEpoch) => return Fitness::OtherEpoch,
            Sight::Resting(Refusal::Behind) | Sight::Good => {}
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
        } else if self.knowledge.lag(seen.mark).time > silence {
            Fitness::Behind
        } else {
            Fitness::Fit
        }
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, sight: Sight) {
        self.view().sight = sight;
    }
}

impl Guard for ReplicaGuard {
    type Claim = Claim;

    async fn claim(
        &self,
        closed_at: Moment,
        peer: &Peer,
        deadline: Instant,
    ) -> Result<Claim, PrimaryReason> {
        if let Some(limit) = self.stale_after
            && let Some(age) = self.knowledge.primary_lost(limit)
        {
            return Ok(Claim::Stale(age));
        }
        if self.mode.keeps_floors()
            && let Some(floor) = self
                .knowledge
                .candidate(closed_at, &peer.server, peer.opened_at)
        {
            return Ok(Claim::Floor(floor));
        }
        let floor = self
            .poller
            .floor_after(closed_at, deadline)
            .await
            .ok_or(PrimaryReason::NoFloor)?;
        if !self.mode.keeps_floors() {
            return Ok(Claim::Floor(floor));
        }
        if floor.covers(&peer.server, peer.opened_at) {
            Ok(Claim::Floor(floor))
        } else {
            Err(PrimaryReason::NotMember)
        }
    }

    fn proof(&self) -> Option<&'static Statement> {
        Some(self.mode.proof())
    }

    fn judge(
        &self,
        claim: &Claim,
        peer: &Peer,
        proof: Option<&Row>,
        standing: &[Standing],
        attempt: u32,
    ) -> Result<Verdict, Error> {
        let Some(replayed) = proof.map(Replayed::decode).transpose()? else {
            return Ok(Verdict::Hangup);
        };
        // A pooler in between: the proof and the answer need not be one server's.
        if replayed.backend != peer.backend {
            tracing::error!(server = %peer.server, "a pooler stands before a replica, which must be reached directly");
            return Ok(Verdict::Hangup);
        }
        let floor = match claim {
            Claim::Stale(silence) => {
                // One that was late already when the primary was lost shows what is older than that.
                let late = replayed.mark.map(|mark| self.knowledge.lag(mark).time);
                let age = late.map_or(*silence, |late| late.max(*silence));
                return Ok(Verdict::Accept(ServedBy::Stale { age }));
            }
            Claim::Floor(floor) => floor,
        };
        let refusal = standing
            .iter()
            .find_map(|standing| meets(floor, &replayed, standing).err());
        Ok(match refusal {
            None => {
                self.see(Sight::Good);
                Verdict::Accept(ServedBy::Replica)
            }
            Some(Refusal::Behind) => {
                if let Some(pause) = PATIENCE.get(attempt as usize) {
                    Verdict::Again(*pause)
                } else {
                    self.see(Sight::Resting(Refusal::Behind));
                    Verdict::Elsewhere(PrimaryReason::Behind)
                }
            }
            Some(Refusal::NotInRecovery) => {
                self.see(Sight::Resting(Refusal::NotInRecovery));
                Verdict::Hangup
            }
            Some(refusal @ Refusal::OtherEpoch) => {
                self.see(Sight::Resting(refusal));
                Verdict::Elsewhere(reason(refusal))
            }
        })
    }

    fn unreachable(&self, error: &Error) {
        self.failed(error);
    }

    fn observe(&self, peer: &Peer, proof: &Row, standing: Option<&Standing>) {
        let mut view = self.view();
        if view.server.as_ref() != Some(&peer.server) {
            view.server = Some(peer.server.clone());
        }
        drop(view);
        let (Ok(replayed), Some(standing)) = (Replayed::decode(proof), standing) else {
            return;
        };
        let Some(mark) = replayed.mark else {
            return;
        };
        let seen = Observation {
            mark,
            epoch: standing.epoch,
            in_recovery: replayed.in_recovery && standing.in_recovery,
        };
        self.knowledge.observe(&peer.server, seen);
        let rested = self.view().sight != Sight::Good;
        if rested && self.would_serve(&peer.server, &seen) {
            self.see(Sight::Good);
        }
    }
}

impl ReplicaGuard {
    /// Whether one that rests may be asked again: it would meet a floor that is in lease, or answers again while there
    /// is none to hold it against.
    fn would_serve(&self, server: &ServerId, seen: &Observation) -> bool {
        let unreachable = self.view().sight == Sight::Unreachable;
        self.knowledge.would_serve(server, seen) || (unreachable && seen.in_recovery)
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

//! What is asked of a replica: how far it is, and then the keys.

use std::rc::Rc;

use super::{Process, connection::Connection};
use crate::{
    freshness::floor::Mark,
    lane::guard::Standing,
    protocol::Replayed,
    sim::{
        cluster::{Lost, SERVERS, Snapshot},
        engine::MS,
        mutants::Mutant,
        settings::Pooled,
    },
};

/// What came back from a replica.
pub(super) struct Answer {
    pub(super) replayed: Replayed,
    pub(super) standing: Standing,
    pub(super) state: Rc<Snapshot>,
}

impl Process {
    /// The proof and the query, one behind the other.
    pub(super) async fn ask(&self, place: usize, connection: &Connection) -> Result<Answer, Lost> {
        let world = &self.world;
        if world.cut_off.get() == Some(self.number) {
            world.engine.sleep(1_000 * MS).await;
            return Err(Lost);
        }
        world.travel().await;
        let prover = if self.is(Mutant::PositionOfAnotherServer) {
            self.another(place)
        } else {
            world.replica_of(place, connection.session)?
        };
        let gap = |most| world.engine.between(0, most);
        let mut answer = if self.is(Mutant::PositionAfterQuery) {
            let state = world.cluster.borrow_mut().snapshot(prover);
            let standing = world.cluster.borrow_mut().standing(prover);
            world.engine.sleep(gap(2 * MS)).await;
            let server = world.replica_of(place, connection.session)?;
            let replayed = self.replayed(server);
            Answer {
                replayed,
                standing,
                state,
            }
        } else {
            let replayed = self.replayed(prover);
            world.engine.sleep(gap(2 * MS)).await;
            // What travels together ends with the server that has begun it.
            if world.backend(prover) != replayed.backend {
                return Err(Lost);
            }
            // A pooler changes servers between transactions that do not travel together.
            let server = if world.settings.pooled == Pooled::Replicas {
                prover
            } else {
                world.replica_of(place, connection.session)?
            };
            let mut cluster = world.cluster.borrow_mut();
            Answer {
                replayed,
                standing: cluster.standing(server),
                state: cluster.snapshot(server),
            }
        };
        if self.is(Mutant::PositionOfAnotherServer) || self.is(Mutant::BeaconPooledAndObserved) {
            // Whoever breaks this rule does not look either.
            answer.replayed.backend = connection.peer.backend;
        }
        world.travel().await;
        world.replica_of(place, connection.session)?;
        self.step().await;
        Ok(answer)
    }

    fn another(&self, place: usize) -> usize {
        let cluster = self.world.cluster.borrow();
        let up = |other: &usize| *other != place && cluster.session(*other).is_ok();
        (1..SERVERS).find(up).unwrap_or(place)
    }

    /// `PROOF_BY_LOG` or `PROOF_BY_BEACON`.
    fn replayed(&self, server: usize) -> Replayed {
        let world = &self.world;
        let mut cluster = world.cluster.borrow_mut();
        let standing = cluster.standing(server);
        let mark = if world.settings.mode.has_beacon() {
            let beat = cluster.snapshot(server).beacons[self.number];
            (beat > 0).then_some(beat)
        } else {
            Some(cluster.position(server))
        };
        drop(cluster);
        Replayed {
            mark: mark.map(Mark),
            in_recovery: standing.in_recovery,
            backend: world.backend(server),
        }
    }
}

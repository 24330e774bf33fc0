//! One read replica: its connections, its lanes, and what is known of it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_postgres::Row;

use crate::{
    error::Error,
    freshness::clock::Moment,
    identify::{Cluster, Peer},
    lane::{
        Lanes,
        guard::{Guard, Standing, Verdict},
    },
    metrics::PrimaryReason,
    policy::FloorPolicy,
    pool::Pool,
    protocol::Replayed,
    router::{
        knowledge::Knowledge,
        mode::Freshness,
        poller::Poller,
        sight::{Claim, Sight},
    },
    statement::Statement,
};

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

    /// Asks it how far it is, and notes what came of that. Cancel safe: what was asked is answered for nobody.
    pub(crate) async fn probe(&self, limit: Duration) {
        match timeout(limit, self.lanes.prove()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.guard.sight.failed(&error),
            Err(_elapsed) => self.guard.sight.unanswered(),
        }
    }
}

/// Decides whether a replica's answers may be handed out.
#[derive(Debug)]
pub(crate) struct ReplicaGuard {
    pub(crate) sight: Sight,
    cluster: Arc<Cluster>,
    poller: Arc<Poller>,
    mode: Arc<dyn Freshness>,
}

impl ReplicaGuard {
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        knowledge: Arc<Knowledge>,
        poller: Arc<Poller>,
        mode: Arc<dyn Freshness>,
        name: String,
        policy: &FloorPolicy,
    ) -> Self {
        Self {
            sight: Sight::new(name, knowledge, mode.keeps_floors(), policy),
            cluster,
            poller,
            mode,
        }
    }
}

impl ReplicaGuard {
    /// Whether another address leads to a server of this name too.
    pub(crate) fn is_ambiguous(&self) -> bool {
        let server = self.sight.server();
        server.is_some_and(|server| self.cluster.is_ambiguous(&server))
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
        let claim = self.sight.claim(closed_at, peer);
        // What needs no proof is not harmed.
        let needs_proof = !matches!(claim, Some(Claim::Stale));
        if needs_proof && self.cluster.is_ambiguous(&peer.server) {
            return Err(PrimaryReason::Ambiguous);
        }
        if let Some(claim) = claim {
            return Ok(claim);
        }
        let floor = self
            .poller
            .floor_after(closed_at, deadline)
            .await
            .ok_or(PrimaryReason::NoFloor)?;
        self.sight.claim_anew(floor, peer)
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
        Ok(self.sight.judge(claim, peer, &replayed, standing, attempt))
    }

    fn met(&self, peer: &Peer) {
        self.sight.meet(peer);
    }

    fn unreachable(&self, error: &Error) {
        self.sight.failed(error);
    }

    fn observe(&self, peer: &Peer, proof: &Row, standing: Option<&Standing>) {
        if let (Ok(replayed), Some(standing)) = (Replayed::decode(proof), standing) {
            self.sight.observe(peer, &replayed, standing);
        }
    }
}

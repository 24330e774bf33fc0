//! Which replica a read is tried on.

use std::{sync::Arc, time::Duration};

use crate::{
    metrics::{Need, PrimaryReason},
    router::{Servers, replica::Replica},
};

impl Servers {
    /// The replica that a read of this need is tried on first, or why it goes to the primary.
    pub(crate) fn pick(&self, need: Need) -> Result<&Replica, PrimaryReason> {
        if self.replicas.is_empty() {
            return Err(PrimaryReason::NoReplica);
        }
        let polled = self.poller.read_arrived();
        if self.stale_for().is_some() {
            return self.pick_stale().ok_or(PrimaryReason::ReplicaUnreachable);
        }
        if need == Need::ListOfNew {
            return Err(PrimaryReason::Asked);
        }
        if need != Need::Any && !polled {
            // The first read after a pause: no floor is in lease, and the connection to be proven on is to be made.
            self.watch_all();
            return Err(PrimaryReason::Idle);
        }
        self.pick_fresh(need)
    }

    /// For how long the primary has been silent, once reads go on without it.
    pub(crate) fn stale_for(&self) -> Option<Duration> {
        self.knowledge.primary_lost(self.floors.stale_after?)
    }

    /// The one with the shortest queue of those that are expected to serve.
    fn pick_fresh(&self, need: Need) -> Result<&Replica, PrimaryReason> {
        let mut reason = PrimaryReason::NoReplica;
        let mut best: Option<(&Arc<Replica>, usize)> = None;
        for replica in &self.replicas {
            match replica.guard.sight.resting() {
                // How late it is does not matter for bytes that never change.
                Some(PrimaryReason::Behind) if need == Need::Any => {}
                Some(rests) => {
                    reason = rests;
                    // Where an address leads is found by new connections, and those are for the votes.
                    if rests != PrimaryReason::SeveralServers {
                        replica.watched.notify_one();
                    }
                    continue;
                }
                None => {}
            }
            if need != Need::Any && replica.guard.is_ambiguous() {
                reason = PrimaryReason::Ambiguous;
                continue;
            }
            if need != Need::Any && self.is_out(replica) {
                reason = PrimaryReason::NotMember;
                continue;
            }
            let waiting = replica.lanes.waiting();
            if best.is_none_or(|(_, least)| waiting < least) {
                best = Some((replica, waiting));
            }
        }
        best.map(|(replica, _)| &**replica).ok_or(reason)
    }

    /// Whether the newest floor does not list it. Were it asked, each batch would have the primary polled once more, only
    /// to learn that it is out of service still.
    fn is_out(&self, replica: &Replica) -> bool {
        self.mode.keeps_floors()
            && replica
                .guard
                .sight
                .server()
                .is_some_and(|server| !self.knowledge.may_be_member(&server))
    }

    /// The one that shows most, of those that may serve. Positions of two histories are not compared.
    fn pick_stale(&self) -> Option<&Replica> {
        let epoch = self.knowledge.epoch();
        let usable = self.replicas.iter().filter(|replica| {
            let usable = replica.guard.sight.may_serve_stale();
            if !usable {
                replica.watched.notify_one();
            }
            usable
        });
        usable
            .max_by_key(|replica| {
                let seen = replica.guard.sight.observation()?;
                (Some(seen.epoch) == epoch).then_some(seen.mark)
            })
            .map(|replica| &**replica)
    }
}

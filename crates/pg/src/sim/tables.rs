//! The tables of the crate's own schema, and what its statements do to them.

use std::rc::Rc;

use uuid::Uuid;

use super::{cluster::Snapshot, engine::Instant};
use crate::freshness::{
    floor::ServerId,
    membership::{Fitness, Member, Service, Vote},
};

/// A row of `read_replica`.
#[derive(Debug, Clone)]
pub(super) struct MemberRow {
    server: ServerId,
    service: Service,
    changed_at: Instant,
    left_at: Vec<Instant>,
}

/// A row of `process_replica`.
#[derive(Debug, Clone)]
pub(super) struct VoteRow {
    server: ServerId,
    process: Uuid,
    fitness: Fitness,
    since: Instant,
    seen_at: Instant,
}

impl MemberRow {
    pub(super) fn serving(server: &ServerId) -> Self {
        Self {
            server: server.clone(),
            service: Service::Serving,
            changed_at: 0,
            left_at: Vec::new(),
        }
    }
}

fn ago(now: Instant, then: Instant) -> std::time::Duration {
    std::time::Duration::from_micros(now.saturating_sub(then))
}

/// Each method is the statement of that name in `protocol`; `now` is the server's clock.
impl Snapshot {
    pub(super) fn in_service(&self) -> (Vec<ServerId>, Vec<ServerId>) {
        let mut found = (Vec::new(), Vec::new());
        for row in &*self.members {
            match row.service {
                Service::Serving => found.0.push(row.server.clone()),
                Service::Draining { .. } => found.1.push(row.server.clone()),
                Service::Out => {}
            }
        }
        found
    }

    pub(super) fn vote(&mut self, process: Uuid, seen: &[(ServerId, Fitness)], now: Instant) {
        let votes = Rc::make_mut(&mut self.votes);
        for (server, fitness) in seen {
            let mine = votes
                .iter_mut()
                .find(|vote| vote.server == *server && vote.process == process);
            if let Some(vote) = mine {
                if vote.fitness != *fitness {
                    vote.since = now;
                }
                vote.fitness = *fitness;
                vote.seen_at = now;
            } else {
                votes.push(VoteRow {
                    server: server.clone(),
                    process,
                    fitness: *fitness,
                    since: now,
                    seen_at: now,
                });
            }
        }
    }

    pub(super) fn register(&mut self, fit: &[ServerId], now: Instant) {
        for server in fit {
            if self.members.iter().all(|row| row.server != *server) {
                Rc::make_mut(&mut self.members).push(MemberRow {
                    changed_at: now,
                    ..MemberRow::serving(server)
                });
            }
        }
    }

    pub(super) fn members(&self, now: Instant) -> Vec<Member> {
        let member = |row: &MemberRow| Member {
            server: row.server.clone(),
            service: row.service,
            for_time: ago(now, row.changed_at),
            left: row.left_at.iter().map(|at| ago(now, *at)).collect(),
        };
        self.members.iter().map(member).collect()
    }

    pub(super) fn votes(&self, now: Instant) -> Vec<Vote> {
        let vote = |row: &VoteRow| Vote {
            server: row.server.clone(),
            process: row.process,
            fitness: row.fitness,
            for_time: ago(now, row.since),
            age: ago(now, row.seen_at),
        };
        self.votes.iter().map(vote).collect()
    }

    pub(super) fn drain(
        &mut self,
        server: &ServerId,
        token: Uuid,
        even_the_last: bool,
        now: Instant,
    ) -> bool {
        let another = |row: &MemberRow| row.server != *server && row.service == Service::Serving;
        if !even_the_last && !self.members.iter().any(another) {
            return false;
        }
        let moved = self.change(server, now, |service| {
            (service == Service::Serving).then_some(Service::Draining { token })
        });
        if moved {
            for row in Rc::make_mut(&mut self.members) {
                if row.server == *server {
                    row.left_at.insert(0, now);
                    row.left_at.truncate(8);
                }
            }
        }
        moved
    }

    pub(super) fn adopt(
        &mut self,
        server: &ServerId,
        had: Uuid,
        token: Uuid,
        now: Instant,
    ) -> bool {
        self.change(server, now, |service| {
            (service == Service::Draining { token: had }).then_some(Service::Draining { token })
        })
    }

    /// `token`: whose drain it must be; `None` breaks the rule.
    pub(super) fn out(&mut self, server: &ServerId, token: Option<Uuid>, now: Instant) -> bool {
        self.change(server, now, |service| match service {
            Service::Draining { token: has } if token.is_none_or(|token| token == has) => {
                Some(Service::Out)
            }
            _ => None,
        })
    }

    pub(super) fn bring_back(&mut self, server: &ServerId, now: Instant) -> bool {
        self.change(server, now, |service| {
            (service == Service::Out).then_some(Service::Serving)
        })
    }

    fn change(
        &mut self,
        server: &ServerId,
        now: Instant,
        into: impl Fn(Service) -> Option<Service>,
    ) -> bool {
        let place = self.members.iter().position(|row| row.server == *server);
        let Some(place) = place else { return false };
        let Some(service) = into(self.members[place].service) else {
            return false;
        };
        let row = &mut Rc::make_mut(&mut self.members)[place];
        row.service = service;
        row.changed_at = now;
        true
    }
}

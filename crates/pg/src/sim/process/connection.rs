//! Connections, made as `connect` and `identify` make them.

use std::cell::RefCell;

use super::Process;
use crate::sim::{
    cluster::{Lost, Role, Session},
    engine::MS,
    mutants::Mutant,
    settings::Pooled,
};
use crate::{
    error::{DialError, Error},
    freshness::{clock::Moment, floor::Epoch},
    identify::Peer,
};

/// At most one connection at a time.
#[derive(Default)]
pub(super) struct Line(RefCell<Option<Connection>>);

/// A connection that was made.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) peer: Peer,
    /// What the handshake found, for a mutant that goes by it.
    pub(super) epoch: Epoch,
}

impl Line {
    pub(super) fn close(&self) {
        self.0.borrow_mut().take();
    }
}

impl Process {
    /// The connection of `line` to replica `place`, a new one if there is none.
    pub(super) async fn to_replica(&self, line: &Line, place: usize) -> Result<Connection, Error> {
        if let Some(connection) = line.0.borrow().clone() {
            return Ok(connection);
        }
        let connection = self.dial_replica(place).await?;
        *line.0.borrow_mut() = Some(connection.clone());
        Ok(connection)
    }

    pub(super) async fn to_primary(&self, line: &Line) -> Result<Connection, Lost> {
        if let Some(connection) = line.0.borrow().clone() {
            return Ok(connection);
        }
        let connection = self.dial_primary().await?;
        *line.0.borrow_mut() = Some(connection.clone());
        Ok(connection)
    }

    async fn dial_replica(&self, place: usize) -> Result<Connection, Error> {
        let world = &self.world;
        let before = self.now();
        world.travel().await;
        if world.engine.chance(world.settings.slow_dials) {
            // The queue of connections is full.
            world.engine.sleep(world.engine.between(0, 400 * MS)).await;
        }
        if world.cut_off.get() == Some(self.number) {
            world.engine.sleep(1_000 * MS).await;
            return Err(unavailable(DialError::TimedOut {
                after: self.policy.probe_timeout,
            }));
        }
        // What is being started is waited for.
        for _ in 0..50 {
            if world.cluster.borrow().session(place).is_ok() {
                break;
            }
            world.engine.sleep_at_least(10 * MS).await;
        }
        let timed_out = |Lost| {
            unavailable(DialError::TimedOut {
                after: self.policy.probe_timeout,
            })
        };
        let session = world.cluster.borrow().session(place).map_err(timed_out)?;
        world.travel().await;
        self.step().await;
        // The handshake is complete: of the server, or of a pooler, which need not have one yet.
        let greeted_at = self.now();
        self.step().await;
        world.travel().await;
        if world.settings.pooled == Pooled::Replicas {
            self.waits_in_the_pooler(place).await;
        }
        let server = world.replica_of(place, session).map_err(timed_out)?;
        let (role, id) = {
            let cluster = world.cluster.borrow();
            let server = &cluster.servers[server];
            (server.role, server.id.clone())
        };
        let epoch = world.cluster.borrow_mut().standing(server).epoch;
        let backend = world.backend(server);
        world.travel().await;
        self.step().await;
        let opened_at = if self.is(Mutant::OpenedBeforeHandshake) {
            before
        } else if self.is(Mutant::OpenedBeforeIdentified) {
            greeted_at
        } else {
            self.now()
        };
        if role != Role::Standby {
            return Err(unavailable(DialError::WrongRole {
                expected: crate::metrics::Role::Replica,
            }));
        }
        let peer = Peer {
            server: id,
            opened_at: self.opened_at(opened_at),
            backend,
        };
        Ok(Connection {
            session,
            peer,
            epoch,
        })
    }

    /// For a session of a server: all are lent, or the server is being started.
    async fn waits_in_the_pooler(&self, place: usize) {
        let world = &self.world;
        if world.engine.chance(world.settings.slow_dials) {
            world.engine.sleep(world.engine.between(0, 400 * MS)).await;
        }
        for _ in 0..50 {
            let server = world.pooler.borrow()[place];
            if world.cluster.borrow().session(server).is_ok() {
                break;
            }
            world.engine.sleep_at_least(10 * MS).await;
        }
    }

    fn opened_at(&self, opened_at: Moment) -> Moment {
        let boot = Moment::after_boot(std::time::Duration::ZERO);
        if self.is(Mutant::OpenedAtDropped) || self.is(Mutant::BeaconWithoutOpenedAt) {
            boot
        } else if self.is(Mutant::OpenedAtIncluded) {
            boot + opened_at.since(boot + std::time::Duration::from_nanos(1))
        } else {
            opened_at
        }
    }

    async fn dial_primary(&self) -> Result<Connection, Lost> {
        let world = &self.world;
        let began = self.now();
        world.travel().await;
        let found = world.cluster.borrow().primary();
        let Some(place) = found else {
            self.step().await;
            self.knowledge.primary_failed(began);
            return Err(Lost);
        };
        let session = world.cluster.borrow().session(place)?;
        world.travel().await;
        self.step().await;
        let opened_at = self.now();
        world.travel().await;
        let server = world.primary_of(session)?;
        self.keep_epoch(session, server).await?;
        let server = world.primary_of(session)?;
        let epoch = world.cluster.borrow_mut().standing(server).epoch;
        let peer = Peer {
            server: world.cluster.borrow().servers[server].id.clone(),
            opened_at,
            backend: world.backend(server),
        };
        world.travel().await;
        self.step().await;
        self.knowledge.primary_answered();
        Ok(Connection {
            session,
            peer,
            epoch,
        })
    }

    /// `identify::keep_epoch`.
    async fn keep_epoch(&self, session: Session, server: usize) -> Result<(), Lost> {
        let world = &self.world;
        if world.cluster.borrow_mut().standing(server).same_history {
            return Ok(());
        }
        world.travel().await;
        // The server of the question may have been lost meanwhile, and be a standby by now.
        let server = world.primary_of(session)?;
        let timeline = world.cluster.borrow().timeline(server);
        let fresh = Epoch(world.engine.token());
        let changed = world.commit(server, |state| {
            // Of two that notice together one draws it.
            if state.timeline != timeline {
                state.epoch = fresh;
                state.timeline = timeline;
            }
        });
        changed.await
    }
}

fn unavailable(source: DialError) -> Error {
    Error::Unavailable {
        retry_after: std::time::Duration::from_secs(1),
        source,
    }
}

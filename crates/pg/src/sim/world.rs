//! Everything there is in a run, and what the database does by itself: commits, and statements as they are answered.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use super::{
    checker::{History, Tally},
    cluster::{Cluster, Lost, Role, SERVERS, Session, Snapshot},
    engine::{Engine, Instant, MS},
    settings::{Pooled, S, S_R, Settings},
};
use crate::{freshness::floor::Mark, protocol::Now};

/// Shared by all tasks of a run.
pub(super) struct World {
    pub(super) engine: Rc<Engine>,
    pub(super) settings: Rc<Settings>,
    pub(super) cluster: RefCell<Cluster>,
    pub(super) history: RefCell<History>,
    /// Which server a pooler before each replica leads to now.
    pub(super) pooler: RefCell<[usize; SERVERS]>,
    /// Whether each process is cut off from the replicas.
    pub(super) cut_off: Cell<Option<usize>>,
}

impl World {
    pub(super) fn new(engine: Rc<Engine>, settings: Settings) -> Rc<Self> {
        let settings = Rc::new(settings);
        let cluster = Cluster::new(&engine, &settings);
        Rc::new(Self {
            engine,
            settings,
            cluster: RefCell::new(cluster),
            history: RefCell::default(),
            pooler: RefCell::new(std::array::from_fn(|server| server)),
            cut_off: Cell::new(None),
        })
    }

    pub(super) fn now(&self) -> Instant {
        self.engine.now()
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Tally) -> &mut u64) {
        *count(&mut self.history.borrow_mut().tally) += 1;
    }

    /// A message on its way. Some take very long.
    pub(super) async fn travel(&self) {
        let longest = match self.engine.between(0, 99) {
            0 => 700 * MS,
            1 | 2 => 60 * MS,
            _ => self.settings.net,
        };
        let way = self.engine.between(0, longest);
        self.engine.sleep(way).await;
    }

    /// The server that a statement of `session` on the primary runs on.
    pub(super) fn primary_of(&self, session: Session) -> Result<usize, Lost> {
        let cluster = self.cluster.borrow();
        if self.settings.pooled == Pooled::Primary {
            return cluster.primary().ok_or(Lost);
        }
        cluster.reach(session)
    }

    /// The server that statements of `session` on replica `place` run on.
    pub(super) fn replica_of(&self, place: usize, session: Session) -> Result<usize, Lost> {
        let cluster = self.cluster.borrow();
        if self.settings.pooled == Pooled::Replicas {
            let server = self.pooler.borrow()[place];
            return cluster.session(server).map(|session| session.server);
        }
        cluster.reach(session)
    }

    /// `pg_backend_pid()`: one process for each life of a server is enough here.
    pub(super) fn backend(&self, server: usize) -> i32 {
        let incarnation = self.cluster.borrow().servers[server].incarnation;
        i32::try_from(server).expect("few servers") * 100_000
            + i32::try_from(incarnation).expect("few restarts")
    }

    /// Runs a transaction on the primary until COMMIT would return.
    pub(super) async fn commit<R>(
        &self,
        server: usize,
        change: impl FnOnce(&mut Snapshot) -> R,
    ) -> Result<R, Lost> {
        let session = self.cluster.borrow().session(server)?;
        if self.cluster.borrow().servers[server].role != Role::Primary {
            // A standby takes no writes.
            return Err(Lost);
        }
        let (result, position) = self.cluster.borrow_mut().insert(server, change);
        self.engine.sleep(self.engine.between(0, MS)).await;
        self.cluster.borrow().reach(session)?;
        self.cluster.borrow_mut().flush(server, position);
        while !self.cluster.borrow_mut().is_safe(server, position) {
            self.engine.sleep_at_least(MS).await;
            self.cluster.borrow().reach(session)?;
        }
        self.cluster.borrow_mut().show(server, position);
        Ok(result)
    }

    /// `NOW_BY_LOG` or `NOW_BY_BEACON` of the process in `slot`. As it was written: the caller judges the standing.
    pub(super) async fn ask_now(&self, server: usize, slot: usize) -> Result<Now, Lost> {
        let (state, standing) = {
            let mut cluster = self.cluster.borrow_mut();
            (cluster.snapshot(server), cluster.standing(server))
        };
        let mark = if self.settings.mode.has_beacon() {
            if standing.in_recovery {
                return Err(Lost);
            }
            let beat = self.commit(server, |state| {
                state.beacons[slot] += 1;
                state.beacons[slot]
            });
            beat.await?
        } else {
            self.cluster.borrow_mut().position(server)
        };
        let (serving, draining) = state.in_service();
        Ok(Now {
            mark: Mark(mark),
            standing,
            silence: S,
            lease: S_R,
            acknowledge: self.settings.acknowledge,
            serving,
            draining,
        })
    }
}

//! Writes: a transaction, the question behind its COMMIT, and the barrier; as `tx` and `router::acknowledge` do it.

use std::{rc::Rc, time::Duration};

use super::{
    Process,
    connection::{Connection, Line},
};
use crate::{
    freshness::{
        barrier::{AfterCommit, KnownEpoch, Observations, Verdict},
        clock::Moment,
    },
    protocol::Now,
    sim::{
        checker::How,
        cluster::{KEYS, Lost},
        engine::MS,
        mutants::Mutant,
    },
};

/// What a client wants to write.
#[derive(Debug, Clone, Copy)]
struct Push {
    key: usize,
    /// The version that the first attempt has written, if one has: the second finds it, or writes anew.
    wrote: Option<u64>,
}

/// What a transaction has come to.
struct Committed {
    version: u64,
    after: AfterCommit,
    changed: bool,
}

impl Process {
    /// A client that pushes, and again if it has not heard whether it was done.
    pub(super) async fn writes(self: Rc<Self>) {
        let line = Line::default();
        loop {
            self.pause(0, self.world.settings.between_pushes).await;
            let mut push = Push {
                key: self.world.engine.place(KEYS),
                wrote: None,
            };
            for _ in 0..3 {
                match self.push(&line, &mut push).await {
                    Ok(()) => break,
                    Err(Lost) => line.close(),
                }
            }
        }
    }

    async fn push(&self, line: &Line, push: &mut Push) -> Result<(), Lost> {
        let world = &self.world;
        let connection = self.to_primary(line).await?;
        self.step().await;
        // Somebody else may push the same: that finds nothing to change.
        let repeats = push.wrote.is_some() || world.engine.chance(25);
        let committed = self.transact(&connection, push, repeats).await?;
        self.step().await;
        let how = if !committed.changed && self.is(Mutant::NoBarrierForNoOp) {
            How::Observed
        } else {
            self.acknowledge(&committed.after).await?
        };
        let mut history = world.history.borrow_mut();
        history.acknowledged(push.key, committed.version, how);
        if !committed.changed {
            history.tally.confirmed += 1;
        }
        Ok(())
    }

    /// `Tx::begin` to `Tx::commit`.
    async fn transact(
        &self,
        connection: &Connection,
        push: &mut Push,
        repeats: bool,
    ) -> Result<Committed, Lost> {
        let world = &self.world;
        world.travel().await;
        let server = world.primary_of(connection.session)?;
        let session = world.cluster.borrow().session(server)?;
        let early = if self.is(Mutant::AskedBeforeCommit) {
            Some(world.ask_now(server, self.number).await?)
        } else {
            None
        };
        while world.cluster.borrow().locked[push.key] {
            world.engine.sleep_at_least(MS).await;
            world.cluster.borrow().reach(session)?;
        }
        let standing = world.cluster.borrow_mut().standing(server);
        if standing.in_recovery {
            return Err(Lost);
        }
        let there = world.cluster.borrow_mut().snapshot(server).versions[push.key];
        let found = there > 0 && repeats && push.wrote.is_none_or(|wrote| there >= wrote);
        let version = if found {
            there
        } else {
            let version = {
                let mut cluster = world.cluster.borrow_mut();
                cluster.locked[push.key] = true;
                cluster.last_version += 1;
                cluster.last_version
            };
            push.wrote = Some(version);
            let written = world
                .commit(server, |state| state.versions[push.key] = version)
                .await;
            if world.cluster.borrow().reach(session).is_ok() {
                world.cluster.borrow_mut().locked[push.key] = false;
            }
            written?;
            version
        };
        // Behind COMMIT, in the same round trip, and behind a pooler perhaps elsewhere.
        world.engine.sleep(world.engine.between(0, MS)).await;
        let server = world.primary_of(connection.session)?;
        let mut now = match early {
            Some(now) => now,
            None => world.ask_now(server, self.number).await?,
        };
        world.travel().await;
        world.primary_of(connection.session)?;
        self.step().await;
        let committed_at = self.now();
        self.step().await;
        if self.is(Mutant::EpochInTheHookAlone) {
            now.standing.epoch = connection.epoch;
        } else if !now.standing.is_primary() || now.standing.epoch != standing.epoch {
            // The epoch that the transaction itself has seen, as it is asked for behind a pooler.
            return Err(Lost);
        }
        self.knowledge.note_epoch(now.standing.epoch);
        self.news.raise();
        Ok(Committed {
            version,
            after: self.after_commit(now, committed_at),
            changed: !found,
        })
    }

    fn after_commit(&self, mut now: Now, committed_at: Moment) -> AfterCommit {
        if self.is(Mutant::WritersIgnoreDraining) {
            now.draining.clear();
        }
        now.into_after_commit(committed_at)
    }

    /// `Servers::acknowledge`.
    async fn acknowledge(&self, write: &AfterCommit) -> Result<How, Lost> {
        let mut waits = false;
        let outcome = loop {
            let seen = self.news.count();
            let until = match self.judge(write) {
                Verdict::Acknowledged => break Ok(()),
                Verdict::PerhapsLost => break Err(Lost),
                Verdict::Wait { until } => until,
            };
            if !waits {
                waits = true;
                self.waiting.set(self.waiting.get() + 1);
                for replica in &self.replicas {
                    replica.watched.raise();
                }
            }
            let left = self.clock.takes(until.since(self.now()));
            let until = self.world.now() + left;
            self.news.raised_since(seen, Some(until)).await;
            self.world.engine.sleep(0).await;
            self.step().await;
        };
        if waits {
            self.waiting.set(self.waiting.get() - 1);
        }
        if outcome.is_err() {
            self.world.count(|tally| &mut tally.perhaps_lost);
        }
        outcome?;
        let timed = self.now().since(write.committed_at) >= write.silence;
        Ok(if timed { How::Timer } else { How::Observed })
    }

    fn judge(&self, write: &AfterCommit) -> Verdict {
        if !self.is(Mutant::NoSilenceAfterNewEpoch) {
            return self.knowledge.judge(write);
        }
        let known = KnownEpoch {
            epoch: self.knowledge.epoch().unwrap_or(write.epoch),
            since: Moment::after_boot(Duration::ZERO),
        };
        let mut observed = Observations::new();
        for server in &*write.members {
            if let Some(seen) = self.knowledge.observation(server) {
                observed.insert(server.clone(), seen);
            }
        }
        write.judge(self.now(), &known, &observed)
    }
}

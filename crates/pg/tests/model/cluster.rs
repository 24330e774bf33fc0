//! Steps of the servers and of time, and who is in service.

use crate::{
    actions::{only_if, take},
    log::Record,
    mutant::Mutant,
    rules::Protocol,
    state::{Batch, Connection, Drain, Phase, Replica, Service, Stage, State},
};

impl Protocol {
    /// A3: in `s` ticks of a writer a reader counts at least `s_r`. With 3 and 2 the writers may be ahead by one tick in
    /// any three in a row.
    pub(crate) fn tick(&self, next: &mut State, steady: bool, reader: bool) -> Option<()> {
        take(&mut next.used.ticks, self.config.limits.ticks)?;
        let clocks = &mut next.clocks;
        if !steady {
            only_if(self.breaks(Mutant::ClockStopsInSuspend))?;
        } else if reader {
            clocks.reader += 1;
            clocks.steady = (clocks.steady + 1).min(2);
        } else {
            only_if(self.config.drift && clocks.steady == 2)?;
            clocks.steady = 0;
        }
        clocks.writers += 1;
        Some(())
    }

    pub(crate) fn noise(&self, next: &mut State) -> Option<()> {
        take(&mut next.used.noise, self.config.limits.noise)?;
        // It makes a server of the old history look further than it is; in the new one it would only hold replicas back.
        only_if(!next.failed_over)?;
        next.log_mut().append(Record::Noise);
        Some(())
    }

    pub(crate) fn replay(&self, next: &mut State, replica: u8) -> Option<()> {
        only_if(!next.is_primary(replica))?;
        let Replica {
            history,
            mut replayed,
        } = next.replicas[usize::from(replica)];
        let log = next.logs[usize::from(history)];
        log.get(replayed)?;
        replayed += 1;
        // To the last position at which it shows the same: a floor that is met earlier is met there too, and what is
        // returned is as old.
        while self.config.coarse_replay && log.get(replayed).is_some_and(Self::is_invisible) {
            replayed += 1;
        }
        next.replicas[usize::from(replica)].replayed = replayed;
        Some(())
    }

    pub(crate) fn restart(&self, next: &mut State, replica: u8) -> Option<()> {
        take(&mut next.used.restarts, self.config.limits.restarts)?;
        only_if(!next.is_primary(replica))?;
        let place = usize::from(replica);
        only_if(next.replicas[place].replayed > 0)?;
        next.replicas[place].replayed = 0;
        // A dial that is under way ends at the new process of the server.
        if let Connection::Open { .. } = next.reader.connections[place]
            && !self.config.pooled_replicas
        {
            next.reader.connections[place] = Connection::None;
        }
        if let Some(Batch { stage, .. }) = &mut next.reader.batch {
            match *stage {
                Stage::Proven { replica: of, .. } | Stage::Queried { replica: of, .. }
                    if of == replica && !self.config.pooled_replicas =>
                {
                    *stage = Stage::Closed;
                }
                _ => {}
            }
        }
        Some(())
    }

    pub(crate) fn fail_over(&self, next: &mut State) -> Option<()> {
        only_if(self.config.limits.failover && !next.failed_over)?;
        next.logs[1] = next.logs[0].forked_at(next.replicas[0].replayed);
        next.replicas[0].history = 1;
        next.failed_over = true;
        for writer in &mut next.writers {
            // The connection on which it would have asked is gone.
            if let Phase::Committed { .. } = writer.phase {
                writer.phase = Phase::Idle;
            }
        }
        if let Some(poll) = next.reader.poll
            && poll.answer.is_none()
            && !self.config.pooled_primary
        {
            next.reader.poll = None;
        }
        Some(())
    }

    pub(crate) fn hook(next: &mut State) -> Option<()> {
        only_if(!next.is_same_history())?;
        next.log_mut().append(Record::Epoch(1));
        Some(())
    }

    pub(crate) fn follow(next: &mut State, replica: u8) -> Option<()> {
        let fork = next.replicas[0].replayed;
        let replica = &mut next.replicas[usize::from(replica)];
        only_if(next.failed_over && replica.history == 0 && replica.replayed <= fork)?;
        replica.history = 1;
        Some(())
    }

    /// Without a pooler every connection to a new primary begins with the hook.
    pub(crate) fn primary_answers(&self, state: &State) -> bool {
        self.config.pooled_primary || state.is_same_history()
    }

    /// Whether what the primary said is used: only if its timeline is the epoch's.
    pub(crate) fn trusts_primary(&self, state: &State) -> bool {
        state.is_same_history() || self.breaks(Mutant::EpochOnlyInHook)
    }

    /// How far a server is: the end of what it has replayed, or the beacon of `slot` that it shows.
    pub(crate) fn mark_of(&self, state: &State, replica: u8, slot: u8) -> u8 {
        let (log, position) = state.shown_by(replica);
        if self.config.beacon {
            log.beats(position, slot)
        } else {
            position
        }
    }

    pub(crate) fn service(&self, state: &State, replica: u8) -> Service {
        let log = state.log();
        log.row(log.length(), replica)
            .unwrap_or(self.config.services[usize::from(replica)])
    }

    /// The replicas in service, as a set of bits.
    pub(crate) fn members(&self, state: &State, also_draining: bool) -> u8 {
        (0..self.config.replicas)
            .filter(|replica| match self.service(state, *replica) {
                Service::Serving => true,
                Service::Draining(_) => also_draining,
                Service::Out => false,
            })
            .fold(0, |members, replica| members | 1 << replica)
    }

    pub(crate) fn drain(&self, next: &mut State, replica: u8) -> Option<()> {
        only_if(self.service(next, replica) == Service::Serving)?;
        take(&mut next.used.drains, self.config.limits.drains)?;
        if self.breaks(Mutant::DrainSkipped) {
            next.log_mut().append(Record::Row(replica, Service::Out));
            return Some(());
        }
        let since = next.clocks.writers;
        Self::begin_drain(next, replica, since)
    }

    pub(crate) fn adopt(&self, next: &mut State, replica: u8) -> Option<()> {
        only_if(matches!(self.service(next, replica), Service::Draining(_)))?;
        take(&mut next.used.adoptions, self.config.limits.adoptions)?;
        let since = if self.breaks(Mutant::AdoptedWithoutWait) {
            0
        } else {
            next.clocks.writers
        };
        Self::begin_drain(next, replica, since)
    }

    /// By whichever drainer has nothing to do: they are alike.
    fn begin_drain(next: &mut State, replica: u8, since: u8) -> Option<()> {
        let place = next.drains.iter().position(Option::is_none)?;
        // Fresh: no two drains of a run have the same.
        let token = next.used.drains + next.used.adoptions;
        let row = Record::Row(replica, Service::Draining(token));
        next.log_mut().append(row);
        next.drains[place] = Some(Drain {
            replica,
            token,
            since,
        });
        Some(())
    }

    /// The drainer's wait is over. Its UPDATE finds the row or not; either way it is done.
    pub(crate) fn end_drain(&self, next: &mut State, drainer: u8) -> Option<()> {
        let drain = next.drains[usize::from(drainer)].take()?;
        only_if(next.clocks.writers >= drain.since + self.config.silence)?;
        let found = match self.service(next, drain.replica) {
            Service::Draining(token) => {
                token == drain.token || self.breaks(Mutant::OutWithoutToken)
            }
            _ => false,
        };
        if found {
            let row = Record::Row(drain.replica, Service::Out);
            next.log_mut().append(row);
        }
        Some(())
    }

    pub(crate) fn put_back(&self, next: &mut State, replica: u8) -> Option<()> {
        only_if(self.service(next, replica) == Service::Out)?;
        only_if(self.primary_answers(next))?;
        take(&mut next.used.returns, self.config.limits.returns)?;
        let row = Record::Row(replica, Service::Serving);
        next.log_mut().append(row);
        Some(())
    }
}

//! Steps of a process that reads: its connections, its polls, its batches.

use crate::{
    actions::{only_if, take},
    mutant::Mutant,
    rules::Protocol,
    state::{Batch, Connection, Lease, Poll, Stage, Stale, State},
};

/// The reader's beacon; writers have those of their numbers.
const SLOT: u8 = 2;

impl Protocol {
    pub(crate) fn dial(next: &mut State, replica: u8) -> Option<()> {
        only_if(!next.is_primary(replica))?;
        next.reader.connections[usize::from(replica)] = Connection::Dialling {
            began: next.clocks.reader,
        };
        Some(())
    }

    pub(crate) fn handshake(&self, next: &mut State, replica: u8) -> Option<()> {
        only_if(!next.is_primary(replica))?;
        let now = next.clocks.reader;
        let connection = &mut next.reader.connections[usize::from(replica)];
        let Connection::Dialling { began } = *connection else {
            return None;
        };
        let opened_at = if self.breaks(Mutant::OpenedAtBeforeHandshake) {
            began
        } else {
            now
        };
        *connection = Connection::Open { opened_at };
        Some(())
    }

    pub(crate) fn poll(&self, next: &mut State) -> Option<()> {
        self.send_poll(next)?;
        self.answer_poll(next)?;
        self.receive_poll(next)
    }

    pub(crate) fn send_poll(&self, next: &mut State) -> Option<()> {
        take(&mut next.used.polls, self.config.limits.polls)?;
        next.reader.poll = Some(Poll {
            sent_at: next.clocks.reader,
            answer: None,
        });
        Some(())
    }

    pub(crate) fn answer_poll(&self, next: &mut State) -> Option<()> {
        only_if(self.primary_answers(next))?;
        let mut poll = next.reader.poll?;
        next.reader.poll = if self.trusts_primary(next) {
            let members = self.members(next, false);
            poll.answer = Some(self.say(next, SLOT, members));
            Some(poll)
        } else {
            None
        };
        Some(())
    }

    pub(crate) fn receive_poll(&self, next: &mut State) -> Option<()> {
        let poll = next.reader.poll.take()?;
        let sent_at = if self.breaks(Mutant::SentAtAfterResponse) {
            next.clocks.reader
        } else {
            poll.sent_at
        };
        let awaited = self.breaks(Mutant::JoinsSentPoll) && next.reader.batch.is_some();
        let floor = Lease {
            sent_at,
            said: poll.answer?,
            awaited,
        };
        let floors = &mut next.reader.floors;
        if floors[0].is_none() {
            floors[0] = Some(floor);
        } else if floors[1].is_none() {
            floors[1] = Some(floor);
        } else {
            *floors = [floors[1], Some(floor)];
        }
        Some(())
    }

    /// A request arrives, and is owed whatever was acknowledged before.
    pub(crate) fn arrive(&self, next: &mut State) -> Option<()> {
        let owed = next.acknowledged;
        let reader = &mut next.reader;
        if let Some(batch) = &mut reader.batch {
            let joins = match batch.stage {
                Stage::Open => true,
                Stage::Closed => self.breaks(Mutant::JoinsClosedBatch),
                Stage::Accepted { .. } => self.breaks(Mutant::JoinsSentQuery),
                _ => false,
            };
            only_if(joins && batch.owed != owed)?;
            batch.owed = owed;
            return Some(());
        }
        // Who is owed nothing cannot be given less; but others may join him.
        only_if(self.config.gathers || owed != 0)?;
        take(&mut next.used.reads, self.config.limits.reads)?;
        reader.batch = Some(Batch {
            owed,
            closed_at: next.clocks.reader,
            stage: if self.config.gathers {
                Stage::Open
            } else {
                Stage::Closed
            },
        });
        Some(())
    }

    pub(crate) fn close(next: &mut State) -> Option<()> {
        let batch = next.reader.batch.as_mut()?;
        batch.closed_at = next.clocks.reader;
        batch.stage = Stage::Closed;
        Some(())
    }

    pub(crate) fn claim(&self, next: &mut State, at: u8, replica: u8) -> Option<()> {
        let batch = next.reader.batch?;
        only_if(self.may_claim(&next.reader, &batch, at, replica))?;
        let floor = next.reader.floors[usize::from(at)]?;
        let stage =
            if self.breaks(Mutant::PositionAfterQuery) || self.breaks(Mutant::PositionInQuery) {
                let (version, epoch) = Self::snapshot(next, replica);
                Stage::Queried {
                    floor,
                    replica,
                    version,
                    epoch,
                }
            } else {
                let (mark, in_recovery) = self.position(next, replica);
                Stage::Proven {
                    floor,
                    replica,
                    mark,
                    in_recovery,
                }
            };
        next.reader.batch = Some(Batch { stage, ..batch });
        if self.config.pooled_replicas {
            // The beacon is in the query's own snapshot: nothing lies between.
            return self.query(next);
        }
        Some(())
    }

    /// Only where a broken rule has the query before the position.
    pub(crate) fn prove(&self, next: &mut State) -> Option<()> {
        let Stage::Queried {
            floor,
            replica,
            version,
            epoch,
        } = next.reader.batch?.stage
        else {
            return None;
        };
        let position = self.position(next, replica);
        self.judge(next, floor, position, (version, epoch))
    }

    pub(crate) fn query(&self, next: &mut State) -> Option<()> {
        let Stage::Proven {
            floor,
            replica,
            mark,
            in_recovery,
        } = next.reader.batch?.stage
        else {
            return None;
        };
        let answer = Self::snapshot(next, replica);
        self.judge(next, floor, (mark, in_recovery), answer)
    }

    /// How far a server says it is, and whether it is a standby.
    fn position(&self, state: &State, replica: u8) -> (u8, bool) {
        let asked = if self.breaks(Mutant::PositionOfAnother) {
            1 - replica
        } else {
            replica
        };
        (self.mark_of(state, asked, SLOT), !state.is_primary(asked))
    }

    /// The version and the epoch that a server shows.
    fn snapshot(state: &State, replica: u8) -> (u8, u8) {
        let (log, position) = state.shown_by(replica);
        (log.version(position), log.epoch(position))
    }

    /// Hands out an answer that meets its floor; a refused batch begins again, with any floor.
    fn judge(
        &self,
        next: &mut State,
        floor: Lease,
        (mark, in_recovery): (u8, bool),
        (version, epoch): (u8, u8),
    ) -> Option<()> {
        let batch = next.reader.batch.as_mut()?;
        if !self.accepts(floor, mark, in_recovery, epoch) {
            batch.stage = Stage::Closed;
            return Some(());
        }
        batch.stage = Stage::Accepted { version };
        if self.config.gathers {
            return Some(());
        }
        self.deliver(next)
    }

    pub(crate) fn deliver(&self, next: &mut State) -> Option<()> {
        let batch = next.reader.batch.take()?;
        let Stage::Accepted { version } = batch.stage else {
            return None;
        };
        if self.breaks(Mutant::TagCache) {
            next.reader.cache = Some((version, next.clocks.reader));
        }
        Self::answer(next, version, batch.owed);
        Some(())
    }

    fn answer(next: &mut State, returned: u8, owed: u8) {
        let acknowledged = next.newest_of(owed);
        if returned < acknowledged {
            next.stale = Some(Stale {
                returned,
                acknowledged,
            });
        }
    }

    pub(crate) fn ask_primary(&self, next: &mut State) -> Option<()> {
        let is_old = self.breaks(Mutant::OldPrimaryAnswers);
        only_if(self.config.asks_primary || is_old && next.failed_over)?;
        only_if(self.primary_answers(next) && self.trusts_primary(next))?;
        let log = if is_old { &next.logs[0] } else { next.log() };
        let version = log.version(log.length());
        next.reader.batch.as_mut()?.stage = Stage::Accepted { version };
        self.deliver(next)
    }

    pub(crate) fn answer_from_cache(&self, next: &mut State) -> Option<()> {
        let (version, at) = next.reader.cache?;
        only_if(at == next.clocks.reader)?;
        take(&mut next.used.reads, self.config.limits.reads)?;
        let owed = next.acknowledged;
        Self::answer(next, version, owed);
        Some(())
    }

    /// Only for bytes that a fresh read has shown to be there: they never change, so there is nothing to get wrong, and
    /// nothing to model. Here its answer is taken for more.
    pub(crate) fn ask_any(&self, next: &mut State, replica: u8) -> Option<()> {
        only_if(self.breaks(Mutant::AnyForPresence))?;
        take(&mut next.used.reads, self.config.limits.reads)?;
        let (log, position) = next.shown_by(replica);
        let version = log.version(position);
        let owed = next.acknowledged;
        Self::answer(next, version, owed);
        Some(())
    }
}

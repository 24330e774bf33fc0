//! Steps of a write, from COMMIT to its acknowledgement.

use crate::{
    actions::{only_if, take},
    freshness::barrier::Verdict,
    log::Record,
    mutant::Mutant,
    rules::{Protocol, note_epoch},
    state::{After, Phase, Seen, State},
};

impl Protocol {
    pub(crate) fn ask_before(&self, next: &mut State, writer: u8) -> Option<()> {
        only_if(self.breaks(Mutant::AskedBeforeCommit))?;
        let after = self.ask(next, writer);
        next.writers[usize::from(writer)].phase = Phase::Asked(after);
        Some(())
    }

    pub(crate) fn commit(&self, next: &mut State, writer: u8) -> Option<()> {
        only_if(self.primary_answers(next))?;
        take(&mut next.used.writes, self.config.limits.writes)?;
        let version = next.used.writes;
        next.log_mut().append(Record::Write(version));
        let at = next.clocks.writers;
        let phase = &mut next.writers[usize::from(writer)].phase;
        *phase = match *phase {
            Phase::Asked(after) => Phase::Waiting { version, at, after },
            _ if self.breaks(Mutant::AskedBeforeCommit) => return None,
            _ => Phase::Committed { version, at },
        };
        Some(())
    }

    /// Finds nothing to change, and waits like the write that made it so: that one may not have been acknowledged yet.
    pub(crate) fn retry(&self, next: &mut State) -> Option<()> {
        take(&mut next.used.retries, self.config.limits.retries)?;
        let log = next.log();
        let version = log.version(log.length());
        only_if(version > 0)?;
        if self.breaks(Mutant::RetryWithoutBarrier) {
            next.acknowledged |= 1 << version;
        } else {
            let at = next.clocks.writers;
            next.writers[1].phase = Phase::Committed { version, at };
        }
        Some(())
    }

    pub(crate) fn ask_after(&self, next: &mut State, writer: u8) -> Option<()> {
        let place = usize::from(writer);
        let Phase::Committed { version, at } = next.writers[place].phase else {
            return None;
        };
        if !self.trusts_primary(next) {
            // Thrown away; the write is not answered.
            next.writers[place].phase = Phase::Idle;
            return Some(());
        }
        let after = self.ask(next, writer);
        let now = next.clocks.writers;
        let writer = &mut next.writers[place];
        note_epoch(writer, after.epoch, now);
        writer.phase = Phase::Waiting { version, at, after };
        Some(())
    }

    /// What a primary says of now: to a writer, by its beacon where there are beacons.
    fn ask(&self, next: &mut State, writer: u8) -> After {
        let members = self.members(next, !self.breaks(Mutant::DrainIgnored));
        self.say(next, writer, members)
    }

    pub(crate) fn say(&self, next: &mut State, slot: u8, members: u8) -> After {
        let log = next.log_mut();
        if self.config.beacon {
            log.append(Record::Beat(slot));
        }
        let end = log.length();
        After {
            mark: if self.config.beacon {
                log.beats(end, slot)
            } else {
                end
            },
            epoch: log.epoch(end),
            members,
        }
    }

    /// Reads the epoch by the way, as every poll does.
    pub(crate) fn learn(next: &mut State, writer: u8) -> Option<()> {
        let log = next.log();
        let read = log.epoch(log.length());
        let now = next.clocks.writers;
        let writer = &mut next.writers[usize::from(writer)];
        only_if(read != writer.epoch)?;
        note_epoch(writer, read, now);
        Some(())
    }

    pub(crate) fn observe(&self, next: &mut State, writer: u8, replica: u8) -> Option<()> {
        let (log, position) = next.shown_by(replica);
        let seen = Seen {
            mark: self.mark_of(next, replica, writer),
            epoch: log.epoch(position),
            in_recovery: !next.is_primary(replica),
        };
        let writer = &mut next.writers[usize::from(writer)];
        let Phase::Waiting { after, .. } = writer.phase else {
            return None;
        };
        only_if(after.members & 1 << replica != 0)?;
        let place = &mut writer.observed[usize::from(replica)];
        // One that shows less only makes the write wait longer.
        let is_news = match *place {
            None => true,
            Some(before) => seen.epoch != before.epoch || seen.mark > before.mark,
        };
        only_if(is_news)?;
        *place = Some(seen);
        Some(())
    }

    pub(crate) fn acknowledge(&self, next: &mut State, writer: u8) -> Option<()> {
        let place = usize::from(writer);
        let Phase::Waiting { version, .. } = next.writers[place].phase else {
            return None;
        };
        let (verdict, _) = self.verdict(next, &next.writers[place])?;
        only_if(verdict == Verdict::Acknowledged)?;
        next.acknowledged |= 1 << version;
        next.writers[place].phase = Phase::Idle;
        Some(())
    }

    pub(crate) fn give_up(&self, next: &mut State, writer: u8) -> Option<()> {
        let place = usize::from(writer);
        let (verdict, _) = self.verdict(next, &next.writers[place])?;
        only_if(verdict == Verdict::PerhapsLost)?;
        next.writers[place].phase = Phase::Idle;
        Some(())
    }
}

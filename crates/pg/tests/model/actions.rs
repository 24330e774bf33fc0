//! What can happen, one step at a time. Numbers are replicas, writers and drainers.

use crate::{
    log::{Log, Record},
    rules::Protocol,
    state::{Connection, Phase, Stage, State, Used, Writer},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Every clock counts one.
    Tick,
    /// The writers' clock alone.
    WritersTick,
    /// Every clock but the reader's, whose machine sleeps.
    SuspendedTick,

    Noise,
    Replay(u8),
    /// A replica restarts: it shows the beginning again, and its connections are gone.
    Restart(u8),
    /// Replica 0 becomes the primary with what it has replayed.
    FailOver,
    /// A connect hook finds the new timeline and draws an epoch.
    Hook,
    /// A replica that had not replayed beyond the fork follows the new primary.
    Follow(u8),

    Drain(u8),
    Adopt(u8),
    EndDrain(u8),
    Return(u8),

    AskBefore(u8),
    Commit(u8),
    /// A second client repeats the first one's write, which is there already.
    Retry,
    AskAfter(u8),
    Learn(u8),
    Observe(u8, u8),
    Acknowledge(u8),
    GiveUp(u8),

    Dial(u8),
    Handshake(u8),
    /// All of a poll at once.
    Poll,
    SendPoll,
    AnswerPoll,
    ReceivePoll,
    Arrive,
    Close,
    /// With which floor, of which replica; and its position, which could as well have been asked for later.
    Claim(u8, u8),
    Prove,
    Query,
    Deliver,
    AskPrimary,
    AnswerFromCache,
    AskAny(u8),
}

impl Protocol {
    /// Everything worth trying in `state`; what cannot be done is found out when it is.
    pub(crate) fn try_all(&self, state: &State, actions: &mut Vec<Action>) {
        let reads_over =
            state.reader.batch.is_none() && state.used.reads == self.config.limits.reads;
        if state.stale.is_some() || reads_over {
            return;
        }
        actions.extend([Action::Tick, Action::WritersTick, Action::SuspendedTick]);
        self.try_servers(state, actions);
        self.try_reader(state, actions);
        if self.is_read_alone(state) {
            return;
        }
        actions.push(Action::Noise);
        self.try_members(actions);
        for writer in 0..self.config.writers {
            self.try_writer(state, writer, actions);
        }
    }

    fn try_servers(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend([Action::FailOver, Action::Hook]);
        for replica in 0..self.config.replicas {
            actions.extend([Action::Replay(replica), Action::Restart(replica)]);
            if state.failed_over {
                actions.push(Action::Follow(replica));
            }
        }
    }

    fn try_members(&self, actions: &mut Vec<Action>) {
        let limits = &self.config.limits;
        for replica in 0..self.config.replicas {
            if limits.returns > 0 {
                actions.push(Action::Return(replica));
            }
            if limits.drains > 0 {
                actions.extend([Action::Drain(replica), Action::Adopt(replica)]);
            }
        }
        if limits.drains > 0 {
            actions.extend([Action::EndDrain(0), Action::EndDrain(1)]);
        }
    }

    fn try_writer(&self, state: &State, writer: u8, actions: &mut Vec<Action>) {
        if state.failed_over {
            actions.push(Action::Learn(writer));
        }
        match state.writers[usize::from(writer)].phase {
            Phase::Idle => {
                actions.extend([Action::AskBefore(writer), Action::Commit(writer)]);
                if writer == 1 {
                    actions.push(Action::Retry);
                }
            }
            Phase::Asked(_) => actions.push(Action::Commit(writer)),
            Phase::Committed { .. } => actions.push(Action::AskAfter(writer)),
            Phase::Waiting { .. } => {
                for replica in 0..self.config.replicas {
                    actions.push(Action::Observe(writer, replica));
                }
                actions.extend([Action::Acknowledge(writer), Action::GiveUp(writer)]);
            }
        }
    }

    fn try_reader(&self, state: &State, actions: &mut Vec<Action>) {
        for replica in 0..self.config.replicas {
            match state.reader.connections[usize::from(replica)] {
                Connection::None => actions.push(Action::Dial(replica)),
                Connection::Dialling { .. } => actions.push(Action::Handshake(replica)),
                Connection::Open { .. } => {}
            }
        }
        actions.push(match state.reader.poll {
            None if !self.config.slow_polls => Action::Poll,
            None => Action::SendPoll,
            Some(poll) if poll.answer.is_none() => Action::AnswerPoll,
            Some(_) => Action::ReceivePoll,
        });
        actions.push(Action::Arrive);
        let Some(batch) = &state.reader.batch else {
            actions.push(Action::AnswerFromCache);
            for replica in 0..self.config.replicas {
                actions.push(Action::AskAny(replica));
            }
            return;
        };
        match batch.stage {
            Stage::Open => actions.push(Action::Close),
            Stage::Closed => {
                actions.push(Action::AskPrimary);
                for floor in 0..2 {
                    for replica in 0..self.config.replicas {
                        actions.push(Action::Claim(floor, replica));
                    }
                }
            }
            Stage::Queried { .. } => actions.push(Action::Prove),
            Stage::Proven { .. } => actions.push(Action::Query),
            Stage::Accepted { .. } => actions.push(Action::Deliver),
        }
    }

    /// Does `action`, if it can be done.
    pub(crate) fn next(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        let done = match action {
            Action::Tick => self.tick(&mut next, true, true),
            Action::WritersTick => self.tick(&mut next, true, false),
            Action::SuspendedTick => self.tick(&mut next, false, false),
            Action::Noise => self.noise(&mut next),
            Action::Replay(replica) => self.replay(&mut next, replica),
            Action::Restart(replica) => self.restart(&mut next, replica),
            Action::FailOver => self.fail_over(&mut next),
            Action::Hook => Self::hook(&mut next),
            Action::Follow(replica) => Self::follow(&mut next, replica),
            Action::Drain(replica) => self.drain(&mut next, replica),
            Action::Adopt(replica) => self.adopt(&mut next, replica),
            Action::EndDrain(drainer) => self.end_drain(&mut next, drainer),
            Action::Return(replica) => self.put_back(&mut next, replica),
            Action::AskBefore(writer) => self.ask_before(&mut next, writer),
            Action::Commit(writer) => self.commit(&mut next, writer),
            Action::Retry => self.retry(&mut next),
            Action::AskAfter(writer) => self.ask_after(&mut next, writer),
            Action::Learn(writer) => Self::learn(&mut next, writer),
            Action::Observe(writer, replica) => self.observe(&mut next, writer, replica),
            Action::Acknowledge(writer) => self.acknowledge(&mut next, writer),
            Action::GiveUp(writer) => self.give_up(&mut next, writer),
            Action::Dial(replica) => Self::dial(&mut next, replica),
            Action::Handshake(replica) => self.handshake(&mut next, replica),
            Action::Poll => self.poll(&mut next),
            Action::SendPoll => self.send_poll(&mut next),
            Action::AnswerPoll => self.answer_poll(&mut next),
            Action::ReceivePoll => self.receive_poll(&mut next),
            Action::Arrive => self.arrive(&mut next),
            Action::Close => Self::close(&mut next),
            Action::Claim(floor, replica) => self.claim(&mut next, floor, replica),
            Action::Prove => self.prove(&mut next),
            Action::Query => self.query(&mut next),
            Action::Deliver => self.deliver(&mut next),
            Action::AskPrimary => self.ask_primary(&mut next),
            Action::AnswerFromCache => self.answer_from_cache(&mut next),
            Action::AskAny(replica) => self.ask_any(&mut next, replica),
        };
        done.map(|()| {
            self.forget_what_is_over(&mut next);
            next
        })
    }

    /// Whether nothing but the one read is of interest any more: what it is owed is certain, and no later record hides
    /// an earlier one.
    fn is_read_alone(&self, state: &State) -> bool {
        state.reader.batch.is_some() && !self.config.gathers
    }

    /// States that differ in nothing that can still matter are made equal.
    fn forget_what_is_over(&self, next: &mut State) {
        if self.is_read_alone(next) {
            next.acknowledged = 0;
            next.writers = [Writer::NEW; 2];
            next.drains = [None; 2];
            next.clocks.writers = next.clocks.reader;
            next.clocks.steady = 0;
            let Used {
                ticks,
                polls,
                reads,
                restarts,
                ..
            } = next.used;
            next.used = Used {
                ticks,
                polls,
                reads,
                restarts,
                ..Used::default()
            };
        }
        if next.used.writes == self.config.limits.writes
            && next.used.retries == self.config.limits.retries
        {
            for writer in &mut next.writers {
                if writer.phase == Phase::Idle {
                    *writer = Writer::NEW;
                }
            }
        }
        let follow_old = next.replicas.iter().filter(|replica| replica.history == 0);
        if next.failed_over && follow_old.count() == 0 {
            next.logs[0] = Log::default();
        }
    }

    /// Whether `record` makes no difference to what a server shows, its position aside.
    pub(crate) fn is_invisible(record: Record) -> bool {
        matches!(record, Record::Noise | Record::Row(..))
    }
}

/// Takes one of a limited number.
pub(crate) fn take(used: &mut u8, limit: u8) -> Option<()> {
    (*used < limit).then(|| *used += 1)
}

/// Goes on only if it `may`.
pub(crate) fn only_if(may: bool) -> Option<()> {
    may.then_some(())
}

//! What waits for the lanes of one endpoint: a line for every kind of key, and the bounds that they share.
//!
//! Pure: who asked is answered here only when nothing can be sent for them any more.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
};

use tokio::time::Instant;

use super::{
    Answer, Refused,
    batch::{Batch, Closed},
    line::{Cost, Entry, Left, Line, Place, Waiter},
};
use crate::{
    error::Error,
    metrics::{Need, Share},
    point_read::PointRead,
    policy::LanePolicy,
};

/// Which keys a lane takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// The small ones.
    Small,
    /// The large ones, each alone; and small ones while the first lane is stuck.
    Large,
    /// All: there is no other lane.
    Everything,
}

impl Duty {
    fn takes(self, large: bool, stuck: bool) -> bool {
        match self {
            Self::Small => !large,
            Self::Large => large || stuck,
            Self::Everything => true,
        }
    }
}

/// What the queue holds.
#[derive(Debug)]
pub(super) struct Queue {
    kinds: Vec<Kind>,
    /// Which kind goes first in the next cycle.
    turn: usize,
    /// Whether the only lane takes a large key next, if there is one.
    large_next: bool,
    /// Whether the first lane's cycle has taken too long, so that the second helps.
    stuck: bool,
    open: bool,
    load: Load,
}

/// Keys of one read that need the same and are alike in size. Kinds are few (a handful of reads), so they are searched.
struct Kind {
    read: TypeId,
    need: Need,
    large: bool,
    line: Box<dyn AnyLine>,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind")
            .field("need", &self.need)
            .field("large", &self.large)
            .field("waiting", &self.line.len())
            .finish_non_exhaustive()
    }
}

/// Where somebody waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    kind: usize,
    place: Place,
}

/// Somebody has been let in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joined {
    pub(super) ticket: Ticket,
    /// Which lane shall come.
    pub(super) duty: Duty,
    /// Whether the key did not wait yet.
    pub(super) is_new: bool,
}

impl Queue {
    pub(super) fn new(policy: &LanePolicy) -> Self {
        Self {
            kinds: Vec::new(),
            turn: 0,
            large_next: false,
            stuck: false,
            open: true,
            load: Load::new(policy),
        }
    }

    /// Keys that wait.
    pub(super) fn len(&self) -> usize {
        self.load.keys
    }

    /// Lets somebody in who asks for `key`, or not: the queue, or his part of it, may be full. One who asks for what
    /// waits already is always let in.
    pub(super) fn join<R: PointRead>(
        &mut self,
        need: Need,
        key: R::Key,
        hash: u64,
        now: Instant,
        waiter: Waiter<Answer<R>>,
    ) -> Result<Joined, Error> {
        if !self.open {
            return Err(Error::Closed);
        }
        let cost = Cost {
            party: R::party(&key),
            key_bytes: R::key_bytes(&key),
            answer_bytes: R::answer_bytes(&key),
        };
        let large = cost.answer_bytes > self.load.policy.batch_answer_bytes;
        let kind = self.kind::<R>(need, large);
        let line = line_of::<R>(&mut *self.kinds[kind].line);
        let (place, is_new) = if let Some(place) = line.find(hash, &key) {
            line.join(place, waiter);
            (place, false)
        } else {
            self.load.admit(cost)?;
            (line.push(Entry::new(key, hash, cost, now, waiter)), true)
        };
        Ok(Joined {
            ticket: Ticket { kind, place },
            duty: if large || self.stuck {
                Duty::Large
            } else {
                Duty::Small
            },
            is_new,
        })
    }

    /// Somebody goes away. Returns whether the key had not been sent.
    pub(super) fn leave(&mut self, ticket: Ticket) -> bool {
        let Some(kind) = self.kinds.get_mut(ticket.kind) else {
            return false;
        };
        match kind.line.leave(ticket.place) {
            None => false,
            Some(Left::Others) => true,
            Some(Left::Nobody(cost)) => {
                self.load.release(cost);
                true
            }
        }
    }

    /// Whether there is something for such a lane.
    pub(super) fn has_work(&self, duty: Duty) -> bool {
        self.kinds
            .iter()
            .any(|kind| kind.line.len() > 0 && duty.takes(kind.large, self.stuck))
    }

    /// Notes whether the first lane is stuck. Returns whether the second has something to do because of it.
    pub(super) fn set_stuck(&mut self, stuck: bool) -> bool {
        self.stuck = stuck;
        stuck && self.has_work(Duty::Large)
    }

    /// Closes what such a lane sends next: a large key alone, or at most one batch of every kind of small ones. Nobody
    /// joins them any more.
    pub(super) fn close(&mut self, duty: Duty, now: Instant) -> Vec<Box<dyn Batch>> {
        let waits = |large| {
            let mut kinds = self.kinds.iter();
            kinds.any(|kind| kind.large == large && kind.line.len() > 0)
        };
        let large = match duty {
            Duty::Small => false,
            Duty::Large => waits(true),
            Duty::Everything => waits(true) && (self.large_next || !waits(false)),
        };
        self.large_next = !large;
        let count = self.kinds.len();
        let mut batches = Vec::new();
        for step in 0..count {
            let kind = &mut self.kinds[(self.turn + step) % count];
            if kind.large != large {
                continue;
            }
            batches.extend(kind.line.close(now, &mut self.load));
            if large && !batches.is_empty() {
                break;
            }
        }
        self.turn = (self.turn + 1) % count.max(1);
        batches
    }

    /// Sends those away whom such a lane would serve.
    pub(super) fn refuse(&mut self, duty: Duty, refused: &Refused) {
        let stuck = self.stuck;
        for kind in &mut self.kinds {
            if duty.takes(kind.large, stuck) {
                kind.line.refuse(refused, &mut self.load);
            }
        }
    }

    /// Sends everybody away, now and from now on.
    pub(super) fn shut(&mut self) {
        self.open = false;
        self.refuse(Duty::Everything, &Refused::Failed(Error::Closed));
    }

    fn kind<R: PointRead>(&mut self, need: Need, large: bool) -> usize {
        let read = TypeId::of::<R>();
        let same = |kind: &Kind| kind.read == read && kind.need == need && kind.large == large;
        self.kinds.iter().position(same).unwrap_or_else(|| {
            let line = Box::new(KindLine::<R> {
                line: Line::default(),
                need,
            });
            self.kinds.push(Kind {
                read,
                need,
                large,
                line,
            });
            self.kinds.len() - 1
        })
    }
}

/// A line whatever its keys are.
trait AnyLine: Any + Send {
    fn len(&self) -> usize;
    fn leave(&mut self, place: Place) -> Option<Left>;
    /// Closes one batch. Those who came too late for it are told.
    fn close(&mut self, now: Instant, load: &mut Load) -> Option<Box<dyn Batch>>;
    fn refuse(&mut self, refused: &Refused, load: &mut Load);
}

struct KindLine<R: PointRead> {
    line: Line<R::Key, Answer<R>>,
    need: Need,
}

fn line_of<R: PointRead>(line: &mut dyn AnyLine) -> &mut Line<R::Key, Answer<R>> {
    let line: &mut dyn Any = line;
    let kind: &mut KindLine<R> = line
        .downcast_mut()
        .expect("the line of a kind is found by its type");
    &mut kind.line
}

impl<R: PointRead> AnyLine for KindLine<R> {
    fn len(&self) -> usize {
        self.line.len()
    }

    fn leave(&mut self, place: Place) -> Option<Left> {
        self.line.leave(place)
    }

    fn close(&mut self, now: Instant, load: &mut Load) -> Option<Box<dyn Batch>> {
        let LanePolicy {
            batch_keys,
            batch_answer_bytes,
            ..
        } = load.policy;
        let mut entries = Vec::with_capacity(self.line.len().min(batch_keys));
        let mut bytes = 0;
        while entries.len() < batch_keys
            && let Some(front) = self.line.front()
        {
            bytes += front.cost.answer_bytes;
            // One that is too large for any batch is one.
            if bytes > batch_answer_bytes && !entries.is_empty() {
                break;
            }
            let Some(entry) = self.line.pop() else { break };
            load.release(entry.cost);
            if entry.deadline > now {
                entries.push(entry);
            } else {
                bytes -= entry.cost.answer_bytes;
                let waited = now.saturating_duration_since(entry.arrived);
                entry.answer(Err(Refused::late(waited)));
            }
        }
        if entries.is_empty() {
            return None;
        }
        Some(Box::new(Closed::<R>::new(self.need, entries)))
    }

    fn refuse(&mut self, refused: &Refused, load: &mut Load) {
        while let Some(entry) = self.line.pop() {
            load.release(entry.cost);
            entry.answer(Err(refused.clone()));
        }
    }
}

/// How much waits, and whose it is.
#[derive(Debug)]
struct Load {
    keys: usize,
    bytes: usize,
    parties: HashMap<u64, usize>,
    policy: LanePolicy,
}

impl Load {
    fn new(policy: &LanePolicy) -> Self {
        Self {
            keys: 0,
            bytes: 0,
            parties: HashMap::new(),
            policy: *policy,
        }
    }

    fn admit(&mut self, cost: Cost) -> Result<(), Error> {
        let LanePolicy {
            queue_keys,
            queue_bytes,
            party_divisor,
            ..
        } = self.policy;
        let share = Share::Lanes;
        if self.keys >= queue_keys || self.bytes + cost.key_bytes > queue_bytes {
            return Err(Error::QueueFull { share });
        }
        let held = self.parties.entry(cost.party).or_default();
        if *held >= (queue_keys / party_divisor.get()).max(1) {
            return Err(Error::QueueFull { share });
        }
        *held += 1;
        self.keys += 1;
        self.bytes += cost.key_bytes;
        Ok(())
    }

    fn release(&mut self, cost: Cost) {
        self.keys -= 1;
        self.bytes -= cost.key_bytes;
        if let Some(held) = self.parties.get_mut(&cost.party) {
            *held -= 1;
            if *held == 0 {
                self.parties.remove(&cost.party);
            }
        }
    }
}

//! Batched reads: keys handed to a lane, not queries.
//!
//! An endpoint has at most two lanes, each with one connection at a time. While a lane's cycle is in flight, keys
//! gather; then it closes at most one batch of every kind and sends them all at once. So what the database sees is
//! bounded by lanes and processes, whatever the number of clients, and a key that many ask for costs one row per round
//! trip. Nobody joins a batch that has been closed: an answer is never older than the question.
//!
//! A lane borrows its connection from the pool while there is work and gives it back after. Lists and whole
//! transactions are no business of lanes.
//!
//! | module | holds |
//! | --- | --- |
//! | `line`, `queue` | the keys that wait, and how many may |
//! | `batch` | the keys that travel together, and their answers |
//! | `cycle` | one flight: proof, batches, verdicts |
//! | `task` | a lane: waits for keys, takes a connection, flies |
//! | `guard`, `primary` | whether an answer may be handed out |

mod batch;
mod cycle;
pub(crate) mod guard;
mod line;
pub(crate) mod primary;
mod queue;
mod task;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout_at},
};
use tokio_postgres::error::SqlState;

use self::{
    batch::Batch,
    guard::Guard,
    line::Waiter,
    queue::{Duty, Joined, Queue, Ticket},
    task::Lane,
};
use crate::{
    error::Error,
    freshness::clock::Clock,
    metrics::{Need, PrimaryReason, ServerLabel, Share},
    point_read::PointRead,
    policy::LanePolicy,
    pool::{self, Pool},
    router::ServedBy,
};

/// Why a key has no answer.
#[derive(Debug, Clone)]
pub(crate) enum Refused {
    /// This server may not answer; the primary shall be asked.
    Elsewhere(PrimaryReason),
    /// Nobody else would do better.
    Failed(Error),
}

impl Refused {
    fn late(waited: Duration) -> Self {
        Self::Failed(Error::DeadlineExceeded {
            share: Share::Lanes,
            waited,
        })
    }

    fn sqlstate(&self) -> Option<&SqlState> {
        match self {
            Self::Elsewhere(_) => None,
            Self::Failed(error) => error.sqlstate(),
        }
    }
}

/// What a key gets: its row, or none, and who says so.
type Answer<R> = Result<(Option<<R as PointRead>::Row>, ServedBy), Refused>;

/// The lanes of one server. They end with its pool.
#[derive(Debug)]
pub(crate) struct Lanes<G> {
    shared: Arc<Shared<G>>,
}

/// Somebody who wants to know how far the server is, and hears of a failure only.
type Probe = oneshot::Sender<Result<(), Error>>;

/// What those who ask and the lanes share.
#[derive(Debug)]
struct Shared<G> {
    queue: Mutex<Queue>,
    /// Those who want to know how far the server is.
    probes: Mutex<Vec<Probe>>,
    hasher: RandomState,
    /// Says that there may be something for the first lane.
    first: Notify,
    /// For the others.
    others: Notify,
    lanes: usize,
    keys_waiting: Gauge,
    pool: Arc<pool::Shared>,
    clock: Arc<dyn Clock>,
    guard: Arc<G>,
    policy: LanePolicy,
}

impl<G: Guard> Lanes<G> {
    /// Starts the lanes of `pool`; takes no connection yet.
    pub(crate) fn new(pool: &Pool, clock: Arc<dyn Clock>, guard: Arc<G>) -> Self {
        let pool = Arc::clone(&pool.shared);
        let policy = pool.policy.lanes;
        let lanes = pool.policy.shares.lanes;
        let server = ServerLabel { server: pool.role };
        let keys_waiting = pool.metrics.keys_waiting.get_or_create_owned(&server);
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new(&policy)),
            probes: Mutex::default(),
            hasher: RandomState::new(),
            first: Notify::new(),
            others: Notify::new(),
            lanes,
            keys_waiting,
            pool,
            clock,
            guard,
            policy,
        });
        for number in 0..lanes {
            let duty = match number {
                0 if lanes == 1 => Duty::Everything,
                0 => Duty::Small,
                _ => Duty::Large,
            };
            let lane = Lane::new(Arc::clone(&shared), duty);
            shared.pool.tracker.spawn(lane.run());
        }
        Self { shared }
    }

    /// Asks for one key. Equal keys that have not been sent share an entry, and so the answer.
    ///
    /// Who waits until `deadline` and has not been sent goes away; what has been sent is waited for, which the limits of
    /// statements bound. Cancel safe: an unsent key leaves with the last who waits for it; a sent one is finished.
    pub(crate) async fn ask<R: PointRead>(
        &self,
        need: Need,
        key: R::Key,
        deadline: Instant,
    ) -> Answer<R> {
        let began = Instant::now();
        let (reply, answer) = oneshot::channel();
        let waiter = Waiter { reply, deadline };
        let ticket = self
            .shared
            .join::<R>(need, key, began, waiter)
            .map_err(Refused::Failed)?;
        let mut waiting = Waiting {
            lanes: &self.shared,
            ticket: Some(ticket),
            answer,
        };
        let answer = match timeout_at(deadline, &mut waiting.answer).await {
            Ok(answer) => answer,
            Err(_elapsed) => {
                if waiting.leave() {
                    let late = self.shared.pool.why_late(Share::Lanes, began);
                    return Err(Refused::Failed(late));
                }
                (&mut waiting.answer).await
            }
        };
        waiting.ticket = None;
        // No key is dropped without an answer, but by a lane that panicked.
        answer.unwrap_or(Err(Refused::Failed(Error::AnswerLost {
            name: R::STATEMENT.name,
        })))
    }
}

impl<G> Lanes<G> {
    /// Asks how far the server is; the guard hears the answer. All who want to know before the question is sent share it.
    ///
    /// Cancel safe: the question may be asked for nobody.
    pub(crate) async fn prove(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.shared.probes().push(reply);
        self.shared.first.notify_one();
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Keys that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.queue().len()
    }
}

impl<G> Shared<G> {
    fn probes(&self) -> MutexGuard<'_, Vec<Probe>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer_probes(&self, answer: &Result<(), Error>) {
        let probes = std::mem::take(&mut *self.probes());
        for probe in probes {
            // Gone: nobody needs to know any more.
            let _ = probe.send(answer.clone());
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join<R: PointRead>(
        &self,
        need: Need,
        key: R::Key,
        now: Instant,
        waiter: Waiter<Answer<R>>,
    ) -> Result<Ticket, Error> {
        let hash = self.hasher.hash_one(&key);
        let Joined {
            ticket,
            duty,
            is_new,
        } = {
            let mut queue = self.queue();
            let joined = queue.join::<R>(need, key, hash, now, waiter)?;
            self.count(&queue);
            joined
        };
        if is_new {
            self.wake(duty);
        }
        Ok(ticket)
    }

    /// Lets go of a key. Returns whether it had not been sent.
    fn leave(&self, ticket: Ticket) -> bool {
        let mut queue = self.queue();
        let unsent = queue.leave(ticket);
        self.count(&queue);
        unsent
    }

    fn close(&self, duty: Duty, now: Instant) -> Vec<Box<dyn Batch>> {
        let mut queue = self.queue();
        let batches = queue.close(duty, now);
        self.count(&queue);
        batches
    }

    /// Sends those away whom such a lane would serve.
    fn refuse(&self, duty: Duty, refused: &Refused) {
        let mut queue = self.queue();
        queue.refuse(duty, refused);
        self.count(&queue);
    }

    /// Sends everybody away, now and from now on.
    fn shut(&self) {
        self.answer_probes(&Err(Error::Closed));
        let mut queue = self.queue();
        queue.shut();
        self.count(&queue);
    }

    fn count(&self, queue: &Queue) {
        let waiting = i64::try_from(queue.len()).unwrap_or(i64::MAX);
        self.keys_waiting.set(waiting);
    }

    fn wake(&self, duty: Duty) {
        if duty == Duty::Large && self.lanes > 1 {
            self.others.notify_one();
        } else {
            self.first.notify_one();
        }
    }
}

/// Somebody who waits, and leaves when he goes away.
struct Waiting<'a, G, A> {
    lanes: &'a Shared<G>,
    /// `None` once there is an answer.
    ticket: Option<Ticket>,
    answer: oneshot::Receiver<A>,
}

impl<G, A> Waiting<'_, G, A> {
    /// Returns whether the key had not been sent.
    fn leave(&mut self) -> bool {
        self.ticket
            .take()
            .is_some_and(|ticket| self.lanes.leave(ticket))
    }
}

impl<G, A> Drop for Waiting<'_, G, A> {
    fn drop(&mut self) {
        self.leave();
    }
}

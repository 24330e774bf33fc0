//! A share's door: so many inside, so many waiting, the others turned away.
//!
//! First come, first served; under a queue that stands and cannot be served in time, newest first, and whoever waits in
//! vain hears so early ([`crate::codel`]). A place that comes free goes straight to whoever is next: it cannot be lost
//! on the way, because a caller that is gone hands it on by dropping it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    codel::{Codel, Order},
    error::Error,
    metrics::{Metrics, Role, Share, ShareLabels},
    policy::QueuePolicy,
};

/// Bounds how many borrow connections for one purpose, and how many wait to.
#[derive(Debug)]
pub(crate) struct Gate(Arc<Inner>);

/// How one gate is built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GateLimits {
    /// How many may be inside.
    pub(crate) places: usize,
    /// How many may wait.
    pub(crate) waiting: usize,
    /// How long a caller waits, at the most.
    pub(crate) patience: Duration,
    /// When the queue stands.
    pub(crate) queue: QueuePolicy,
}

#[derive(Debug)]
struct Inner {
    share: Share,
    most_waiting: usize,
    queue: Mutex<Queue>,
    in_use_gauge: Gauge,
    waiting_gauge: Gauge,
}

/// If places are free, nobody waits.
#[derive(Debug)]
struct Queue {
    free: usize,
    closed: bool,
    /// By ticket, and so in the order they came in.
    waiters: BTreeMap<u64, Waiter>,
    next_ticket: u64,
    codel: Codel,
}

/// A place, or the news that the caller waits in vain.
type Answer = Result<Place, InVain>;

#[derive(Debug)]
struct InVain;

#[derive(Debug)]
struct Waiter {
    joined: Instant,
    deadline: Instant,
    answer: oneshot::Sender<Answer>,
}

/// A place inside, handed on or given back on drop.
#[derive(Debug)]
pub(crate) struct Place {
    /// Taken out by `drop` alone.
    gate: Option<Arc<Inner>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else {
            return;
        };
        while let Some(waiter) = gate.next() {
            let place = Self {
                gate: Some(Arc::clone(&gate)),
            };
            match waiter.answer.send(Ok(place)) {
                Ok(()) => return,
                // It went away just now. The place that comes back must not do all this again when it is dropped.
                Err(Ok(mut place)) => drop(place.gate.take()),
                Err(Err(InVain)) => {}
            }
        }
    }
}

impl Gate {
    pub(crate) fn new(server: Role, share: Share, limits: GateLimits, metrics: &Metrics) -> Self {
        let labels = ShareLabels { server, share };
        Self(Arc::new(Inner {
            share,
            most_waiting: limits.waiting,
            queue: Mutex::new(Queue {
                free: limits.places,
                closed: false,
                waiters: BTreeMap::new(),
                next_ticket: 0,
                codel: Codel::new(limits.queue, limits.patience),
            }),
            in_use_gauge: metrics.in_use.get_or_create_owned(&labels),
            waiting_gauge: metrics.waiting.get_or_create_owned(&labels),
        }))
    }

    /// Waits for a place, not past `deadline`.
    ///
    /// Cancel safe: whoever goes away leaves the queue, and hands on a place that was on its way.
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`] at once, [`Error::WaitedInVain`] early, [`Error::DeadlineExceeded`] at the deadline,
    /// [`Error::Closed`].
    pub(crate) async fn enter(&self, deadline: Instant) -> Result<Place, Error> {
        let began = Instant::now();
        let (share, gate) = (self.0.share, &self.0);
        let (answer, _waiting) = match gate.join(deadline, began)? {
            Joined::Inside(place) => return Ok(place),
            Joined::Waiting(answer, ticket) => (answer, Waiting { gate, ticket }),
        };
        match timeout_at(deadline, answer).await {
            Ok(Ok(Ok(place))) => Ok(place),
            Ok(Ok(Err(InVain))) => Err(Error::WaitedInVain {
                share,
                waited: began.elapsed(),
            }),
            Ok(Err(_closed)) => Err(Error::Closed),
            Err(_elapsed) => Err(Error::DeadlineExceeded {
                share,
                waited: began.elapsed(),
            }),
        }
    }

    /// Turns everybody away from now on, those who wait included.
    pub(crate) fn close(&self) {
        let mut queue = self.0.queue();
        queue.closed = true;
        queue.waiters.clear();
        self.0.show_waiting(&queue);
    }
}

/// What became of a caller at the door.
enum Joined {
    Inside(Place),
    Waiting(oneshot::Receiver<Answer>, u64),
}

impl Inner {
    fn join(self: &Arc<Self>, deadline: Instant, now: Instant) -> Result<Joined, Error> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(Error::Closed);
        }
        if queue.free > 0 {
            queue.free -= 1;
            self.in_use_gauge.inc();
            return Ok(Joined::Inside(Place {
                gate: Some(Arc::clone(self)),
            }));
        }
        let order = queue.look(now);
        if queue.waiters.len() >= self.most_waiting {
            // Whoever would be served last makes room: newest first, that is the oldest.
            let last = match order {
                Order::OldestFirst => None,
                Order::NewestFirst => queue.waiters.pop_first(),
            };
            let Some((_, last)) = last else {
                return Err(Error::QueueFull { share: self.share });
            };
            last.refuse();
        }
        let (sender, receiver) = oneshot::channel();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        let waiter = Waiter {
            joined: now,
            deadline,
            answer: sender,
        };
        queue.waiters.insert(ticket, waiter);
        self.show_waiting(&queue);
        Ok(Joined::Waiting(receiver, ticket))
    }

    /// Takes out whoever gets the place that came free; if nobody waits, keeps the place.
    fn next(&self) -> Option<Waiter> {
        let now = Instant::now();
        let mut queue = self.queue();
        let next = match queue.look(now) {
            Order::OldestFirst => queue.waiters.pop_first(),
            Order::NewestFirst => queue.waiters.pop_last(),
        };
        self.show_waiting(&queue);
        if let Some((_, waiter)) = next {
            queue.codel.served(1, now);
            return Some(waiter);
        }
        queue.free += 1;
        self.in_use_gauge.dec();
        None
    }

    fn show_waiting(&self, queue: &Queue) {
        let waiting = i64::try_from(queue.waiters.len()).unwrap_or(i64::MAX);
        self.waiting_gauge.set(waiting);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Says who is next, and tells those who wait in vain.
    fn look(&mut self, now: Instant) -> Order {
        loop {
            let waiting = self.waiters.len();
            let oldest = self.waiters.first_key_value().map(|(_, oldest)| oldest);
            let order = self.codel.look(oldest.map(|w| w.joined), waiting, now);
            let in_vain = oldest.is_some_and(|w| self.codel.is_in_vain(waiting, w.deadline, now));
            if !in_vain {
                return order;
            }
            if let Some((_, oldest)) = self.waiters.pop_first() {
                oldest.refuse();
            }
        }
    }
}

impl Waiter {
    fn refuse(self) {
        // If it is gone, it need not be told.
        let _ = self.answer.send(Err(InVain));
    }
}

/// One of those who wait; leaves the queue on drop, if it is still in it.
struct Waiting<'a> {
    gate: &'a Inner,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut queue = self.gate.queue();
        queue.waiters.remove(&self.ticket);
        self.gate.show_waiting(&queue);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::{Pin, pin},
    };

    use futures::{future::select_all, poll};
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    use tokio::{task::JoinSet, time::advance};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn gate(places: usize, waiting: usize) -> Gate {
        let metrics = Metrics::unregistered();
        let limits = GateLimits {
            places,
            waiting,
            patience: PATIENCE,
            queue: QueuePolicy::default(),
        };
        Gate::new(Role::Primary, Share::Writes, limits, &metrics)
    }

    impl Gate {
        async fn enter_within_patience(&self) -> Result<Place, Error> {
            self.enter(Instant::now() + PATIENCE).await
        }

        fn waiting(&self) -> i64 {
            self.0.waiting_gauge.get()
        }

        fn free(&self) -> usize {
            self.0.queue().free
        }
    }

    /// Somebody at the door.
    type Caller<'a> = Pin<Box<dyn Future<Output = Result<Place, Error>> + Send + 'a>>;

    async fn queue_up(gate: &Gate, count: usize) -> Vec<Caller<'_>> {
        let mut callers: Vec<Caller<'_>> = Vec::new();
        for _ in 0..count {
            let mut caller: Caller<'_> = Box::pin(gate.enter_within_patience());
            assert!(poll!(&mut caller).is_pending());
            callers.push(caller);
        }
        callers
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_in_vain_hears_so_at_the_deadline() {
        let gate = gate(1, 4);
        let _inside = gate.enter_within_patience().await.unwrap();
        let began = Instant::now();
        let error = gate.enter_within_patience().await.unwrap_err();
        assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error}");
        assert_eq!(began.elapsed(), PATIENCE);
        assert_eq!(gate.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_has_an_end() {
        let gate = gate(1, 2);
        let inside = gate.enter_within_patience().await.unwrap();
        let mut waiting = queue_up(&gate, 2).await;
        let error = gate.enter_within_patience().await.unwrap_err();
        assert!(matches!(error, Error::QueueFull { .. }), "{error}");
        drop(inside);
        assert!(waiting.remove(0).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn first_come_is_first_served() {
        let gate = gate(1, 10);
        let mut inside = gate.enter_within_patience().await.unwrap();
        let waiting = queue_up(&gate, 10).await;
        for mut caller in waiting {
            // Also though it has stood for some time: all are served well within their deadlines.
            advance(Duration::from_millis(20)).await;
            drop(inside);
            inside = match poll!(&mut caller) {
                std::task::Poll::Ready(place) => place.unwrap(),
                std::task::Poll::Pending => panic!("another was served"),
            };
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_promised_to_a_caller_who_goes_away_goes_to_the_next() {
        let gate = gate(1, 4);
        let inside = gate.enter_within_patience().await.unwrap();
        let mut waiting = queue_up(&gate, 3).await;
        // The first is promised the place and is gone before it looks; then the second.
        drop(inside);
        drop(waiting.remove(0));
        drop(waiting.remove(0));
        assert!(waiting.remove(0).await.is_ok());
        assert_eq!((gate.free(), gate.waiting()), (1, 0));
        assert_eq!(gate.0.in_use_gauge.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_goes_away_leaves_no_trace() {
        let gate = gate(1, 1);
        let _inside = gate.enter_within_patience().await.unwrap();
        for _ in 0..100 {
            let mut caller = pin!(gate.enter_within_patience());
            assert!(poll!(&mut caller).is_pending());
            assert_eq!(gate.waiting(), 1);
        }
        assert_eq!(gate.waiting(), 0);
        assert!(gate.0.queue().waiters.is_empty());
    }

    /// A queue of so many, each of whom is inside for ten milliseconds; a fifth of a second has passed.
    async fn overloaded(gate: &Gate, count: usize) -> (Place, Vec<Caller<'_>>) {
        let mut inside = gate.enter_within_patience().await.unwrap();
        let mut waiting = queue_up(gate, count).await;
        for _ in 0..20 {
            advance(Duration::from_millis(10)).await;
            drop(inside);
            let (served, _, rest) = select_all(waiting).await;
            (inside, waiting) = (served.unwrap(), rest);
        }
        (inside, waiting)
    }

    #[tokio::test(start_paused = true)]
    async fn under_a_queue_that_cannot_be_served_in_time_the_newest_is_next() {
        let gate = gate(1, 150);
        let (inside, _waiting) = overloaded(&gate, 140).await;
        let mut newest = pin!(gate.enter_within_patience());
        assert!(poll!(&mut newest).is_pending());
        drop(inside);
        assert!(poll!(&mut newest).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn most_of_those_who_wait_in_vain_hear_so_before_their_deadline() {
        let gate = gate(1, 400);
        let (inside, mut waiting) = overloaded(&gate, 200).await;
        drop(inside);
        let (mut served, mut early, mut late) = (20, 0, 0);
        while !waiting.is_empty() {
            let (outcome, _, rest) = select_all(waiting).await;
            waiting = rest;
            match outcome {
                Ok(place) => {
                    served += 1;
                    advance(Duration::from_millis(10)).await;
                    drop(place);
                }
                Err(Error::WaitedInVain { .. }) => early += 1,
                Err(Error::DeadlineExceeded { .. }) => late += 1,
                Err(error) => panic!("{error}"),
            }
        }
        // A hundred can be served in a second.
        assert!(served >= 95, "{served} served");
        assert!(early >= 80, "{early} refused early, {late} late");
        assert_eq!((gate.free(), gate.waiting()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_queue_is_full_and_stands_the_oldest_makes_room() {
        let gate = gate(1, 150);
        let (_inside, mut waiting) = overloaded(&gate, 150).await;
        waiting.extend(queue_up(&gate, 150 - waiting.len()).await);
        assert_eq!(gate.waiting(), 150);
        let mut newest = pin!(gate.enter_within_patience());
        assert!(poll!(&mut newest).is_pending(), "it is in the queue");
        assert_eq!(gate.waiting(), 150);
        let (first, _, _) = select_all(waiting).await;
        let error = first.unwrap_err();
        assert!(matches!(error, Error::WaitedInVain { .. }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_turns_everybody_away() {
        let gate = gate(1, 1);
        let _inside = gate.enter_within_patience().await.unwrap();
        let mut waiting = queue_up(&gate, 1).await;
        gate.close();
        assert!(matches!(waiting.remove(0).await, Err(Error::Closed)));
        let error = gate.enter_within_patience().await.unwrap_err();
        assert!(matches!(error, Error::Closed), "{error}");
        assert_eq!(gate.waiting(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_place_is_lost_or_made_however_callers_come_and_go() {
        let gate = Arc::new(gate(3, 64));
        let mut callers = JoinSet::new();
        for seed in 0..64 {
            let gate = Arc::clone(&gate);
            callers.spawn(async move {
                let mut rng = StdRng::seed_from_u64(seed);
                for _ in 0..300 {
                    let patience = Duration::from_micros(rng.random_range(0..400));
                    // Some reach their deadline, some are dropped before it, at whatever point they are.
                    let limit = Duration::from_micros(rng.random_range(0..400));
                    let entered =
                        tokio::time::timeout(limit, gate.enter(Instant::now() + patience)).await;
                    let inside = gate.0.in_use_gauge.get();
                    assert!((0..=3).contains(&inside), "{inside} inside");
                    if rng.random_bool(0.5) {
                        tokio::task::yield_now().await;
                    }
                    drop(entered);
                }
            });
        }
        callers.join_all().await;
        assert_eq!((gate.free(), gate.waiting()), (3, 0));
        assert_eq!(gate.0.in_use_gauge.get(), 0);
    }
}

//! Time, chance and tasks. One thread, one random number generator, one queue of what happens when: a seed decides
//! everything.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::BinaryHeap,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::freshness::clock::{Clock, Moment};

/// A point in the time of the simulation, in microseconds. No process knows it.
pub(super) type Instant = u64;

/// A millisecond.
pub(super) const MS: u64 = 1_000;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Runs tasks in virtual time.
pub(super) struct Engine {
    now: Arc<AtomicU64>,
    /// Everything happens at a multiple of this. A coarse one makes ties of clocks frequent.
    tick: u64,
    rng: RefCell<StdRng>,
    /// When to go on with which task; the middle number orders what happens at the same time.
    timers: RefCell<BinaryHeap<Reverse<(Instant, u64, usize)>>>,
    tasks: RefCell<Vec<Option<Task>>>,
    current: Cell<usize>,
}

impl Engine {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Arc::default(),
            tick: 1,
            rng: RefCell::new(StdRng::seed_from_u64(seed)),
            timers: RefCell::default(),
            tasks: RefCell::default(),
            current: Cell::new(0),
        }
    }

    pub(super) fn set_tick(&mut self, tick: u64) {
        self.tick = tick;
    }

    pub(super) fn now(&self) -> Instant {
        self.now.load(Ordering::Relaxed)
    }

    /// A number from `from` to `to`, both included.
    pub(super) fn between(&self, from: u64, to: u64) -> u64 {
        self.rng.borrow_mut().random_range(from..=to)
    }

    /// True `percent` times in a hundred.
    pub(super) fn chance(&self, percent: u64) -> bool {
        self.between(0, 99) < percent
    }

    /// A place in a list that is so long.
    pub(super) fn place(&self, length: usize) -> usize {
        self.rng.borrow_mut().random_range(0..length)
    }

    /// One of them.
    pub(super) fn one_of<T: Copy>(&self, these: &[T]) -> T {
        these[self.place(these.len())]
    }

    pub(super) fn token(&self) -> uuid::Uuid {
        uuid::Builder::from_random_bytes(self.rng.borrow_mut().random()).into_uuid()
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let place = self.tasks.borrow().len();
        self.tasks.borrow_mut().push(Some(Box::pin(task)));
        self.wake_at(self.now(), place);
    }

    /// Runs until `end`. Returns how many steps were taken.
    pub(super) fn run(&self, end: Instant) -> u64 {
        let mut steps = 0;
        loop {
            let Some(Reverse((at, _, place))) = self.timers.borrow_mut().pop() else {
                return steps;
            };
            if at > end {
                return steps;
            }
            self.now.store(at, Ordering::Relaxed);
            let task = self.tasks.borrow_mut()[place].take();
            let Some(mut task) = task else { continue };
            steps += 1;
            self.current.set(place);
            let pending = task
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending();
            assert!(steps < 1_000_000, "time stands still at {at}, task {place}");
            if pending {
                self.tasks.borrow_mut()[place] = Some(task);
            }
        }
    }

    /// Drops every task: they hold the world, and the world holds the engine.
    pub(super) fn clear(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }

    /// Waits `micros`, to the next tick by chance: what takes half a tick takes none or one.
    pub(super) async fn sleep(&self, micros: u64) {
        let ticks = self.in_ticks(micros);
        self.sleep_until(self.now() + ticks).await;
    }

    /// `micros` in whole ticks, rounded up or down by chance.
    pub(super) fn in_ticks(&self, micros: u64) -> u64 {
        let rest = micros % self.tick;
        let up = rest > 0 && self.between(0, self.tick - 1) < rest;
        micros - rest + if up { self.tick } else { 0 }
    }

    /// Waits at least `micros`.
    pub(super) async fn sleep_at_least(&self, micros: u64) {
        self.sleep_until(self.now() + micros.next_multiple_of(self.tick))
            .await;
    }

    /// Waits until `until`. Always lets others run first, what happens at the same time in an order by chance.
    pub(super) async fn sleep_until(&self, until: Instant) {
        let until = self.at_tick(until);
        self.wake_at(until, self.current.get());
        let mut polled = false;
        std::future::poll_fn(|_| {
            let first = !std::mem::replace(&mut polled, true);
            if first || self.now() < until {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    /// The tick at which somebody who waits for `at` goes on.
    fn at_tick(&self, at: Instant) -> Instant {
        at.max(self.now()).next_multiple_of(self.tick)
    }

    fn wake_at(&self, at: Instant, place: usize) {
        let order = self.between(0, u64::MAX);
        self.timers.borrow_mut().push(Reverse((at, order, place)));
    }
}

/// Something that tasks wait for.
pub(super) struct Signal {
    engine: Rc<Engine>,
    count: Cell<u64>,
    waiting: RefCell<Vec<usize>>,
}

impl Signal {
    pub(super) fn new(engine: &Rc<Engine>) -> Self {
        Self {
            engine: Rc::clone(engine),
            count: Cell::new(0),
            waiting: RefCell::default(),
        }
    }

    pub(super) fn raise(&self) {
        self.count.set(self.count.get() + 1);
        for place in self.waiting.take() {
            self.engine.wake_at(self.engine.now(), place);
        }
    }

    /// How often it was raised.
    pub(super) fn count(&self) -> u64 {
        self.count.get()
    }

    /// Waits until it is raised again since [`Signal::count`] was `seen`, or until `until`.
    pub(super) async fn raised_since(&self, seen: u64, until: Option<Instant>) {
        let until = until.map(|until| self.engine.at_tick(until));
        if let Some(until) = until {
            self.engine.wake_at(until, self.engine.current.get());
        }
        std::future::poll_fn(|_| {
            if self.count.get() != seen || until.is_some_and(|until| self.engine.now() >= until) {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            // Woken for another reason, it may be in the list already.
            if !waiting.contains(&self.engine.current.get()) {
                waiting.push(self.engine.current.get());
            }
            Poll::Pending
        })
        .await;
    }
}

/// A process's own clock: begins anywhere, and runs at a rate of its own.
#[derive(Debug)]
pub(super) struct DriftingClock {
    now: Arc<AtomicU64>,
    /// What it showed at the beginning.
    offset: u64,
    /// How many milliseconds it counts in a second.
    rate: u64,
    /// What it has not counted: nothing, but in a mutant.
    slept: AtomicU64,
}

impl DriftingClock {
    pub(super) fn new(engine: &Engine, offset: u64, rate: u64) -> Self {
        Self {
            now: Arc::clone(&engine.now),
            offset,
            rate,
            slept: AtomicU64::new(0),
        }
    }

    /// Stands still for `micros`.
    pub(super) fn skip(&self, micros: u64) {
        self.slept.fetch_add(micros, Ordering::Relaxed);
    }

    /// How long it takes until this clock has counted `duration`.
    pub(super) fn takes(&self, duration: Duration) -> u64 {
        let nanos = u64::try_from(duration.as_nanos()).expect("durations here are short");
        nanos.div_ceil(self.rate)
    }
}

impl Clock for DriftingClock {
    fn now(&self) -> Moment {
        let passed = self.now.load(Ordering::Relaxed) - self.slept.load(Ordering::Relaxed);
        Moment::after_boot(Duration::from_nanos((self.offset + passed) * self.rate))
    }
}

//! A process of ours: what it knows is the router's own [`Knowledge`] and [`Sight`]; what it does is the router's
//! sequence of steps, each of which may be held up for any time.

mod acknowledge;
mod connection;
mod membership;
mod poll;
mod read;
mod replica;
mod watch;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use uuid::Uuid;

use self::{connection::Line, read::Lane};
use super::{
    cluster::SERVERS,
    engine::{DriftingClock, Instant, MS, Signal},
    mutants::Mutant,
    world::World,
};
use crate::{
    freshness::{
        clock::{Clock, Moment},
        floor::Floor,
    },
    policy::FloorPolicy,
    router::{Knowledge, sight::Sight},
};

/// One of them.
pub(super) struct Process {
    /// Which; its slot among the beacons.
    pub(super) number: usize,
    /// Its name.
    name: Uuid,
    world: Rc<World>,
    pub(super) clock: Arc<DriftingClock>,
    knowledge: Arc<Knowledge>,
    /// Something was learnt.
    news: Signal,
    policy: FloorPolicy,
    replicas: Vec<Replica>,
    primary: Lane,
    /// Polls go on until then.
    polls_until: Cell<Instant>,
    poll_wanted: Signal,
    /// The poll that has been sent, for a mutant that joins it.
    poll_sent: Cell<Option<Moment>>,
    /// Writers that wait for replicas.
    waiting: Cell<usize>,
    /// Stopped until then, between any two steps.
    stopped_until: Cell<Instant>,
    /// For mutants: every floor, and every answer.
    floors: RefCell<Vec<Floor>>,
    cache: RefCell<Vec<read::Cached>>,
}

/// What leads to one server as a replica.
struct Replica {
    sight: Sight,
    lane: Lane,
    probes: Line,
    /// Somebody needs to know how far it is.
    watched: Signal,
}

impl Process {
    pub(super) fn start(world: &Rc<World>, number: usize) -> Rc<Self> {
        let engine = &world.engine;
        let settings = &world.settings;
        let clock = Arc::new(DriftingClock::new(
            engine,
            engine.between(1, 1_000) * 1_000 * MS,
            settings.rates[number],
        ));
        let policy = FloorPolicy {
            mode: settings.mode.0,
            ..FloorPolicy::default()
        };
        let knowledge = Arc::new(Knowledge::new(Arc::clone(&clock) as Arc<dyn Clock>));
        let replica = |place: usize| Replica {
            sight: Sight::new(
                place.to_string(),
                Arc::clone(&knowledge),
                settings.mode.keeps_floors(),
                &policy,
            ),
            lane: Lane::new(engine),
            probes: Line::default(),
            watched: Signal::new(engine),
        };
        let process = Rc::new(Self {
            number,
            name: engine.token(),
            world: Rc::clone(world),
            clock,
            replicas: (0..SERVERS).map(replica).collect(),
            knowledge,
            news: Signal::new(engine),
            policy,
            primary: Lane::new(engine),
            polls_until: Cell::new(0),
            poll_wanted: Signal::new(engine),
            poll_sent: Cell::new(None),
            waiting: Cell::new(0),
            stopped_until: Cell::new(0),
            floors: RefCell::default(),
            cache: RefCell::default(),
        });
        engine.spawn(Rc::clone(&process).polls());
        engine.spawn(Rc::clone(&process).flies_on_primary());
        engine.spawn(Rc::clone(&process).looks_after_members());
        engine.spawn(Rc::clone(&process).operates());
        engine.spawn(Rc::clone(&process).reads());
        for _ in 0..2 {
            engine.spawn(Rc::clone(&process).writes());
        }
        for place in 0..SERVERS {
            engine.spawn(Rc::clone(&process).flies(place));
            engine.spawn(Rc::clone(&process).watches(place));
        }
        process
    }

    /// Stops it for a while (SIGSTOP, a machine asleep).
    pub(super) fn stop(&self, micros: u64) {
        let until = self.world.now() + micros;
        if until > self.stopped_until.get() {
            let from = self.stopped_until.get().max(self.world.now());
            self.stopped_until.set(until);
            if self.is(Mutant::ClockStopsInSuspend) {
                let clock = Arc::clone(&self.clock);
                let engine = Rc::clone(&self.world.engine);
                self.world.engine.spawn(async move {
                    engine.sleep_until(until).await;
                    clock.skip(until - from);
                });
            }
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.world.settings.mutant == Some(mutant)
    }

    fn now(&self) -> Moment {
        self.knowledge.now()
    }

    /// Between two steps anything may happen: the process is stopped, or this task alone has to wait.
    async fn step(&self) {
        if self.world.engine.chance(1) {
            let wait = self.world.engine.between(0, self.world.settings.hiccup);
            self.world.engine.sleep(wait).await;
        }
        while self.world.now() < self.stopped_until.get() {
            self.world
                .engine
                .sleep_until(self.stopped_until.get() + 1)
                .await;
        }
    }

    /// Waits as its own clock counts, at least so long.
    async fn sleep(&self, duration: Duration) {
        let takes = self.clock.takes(duration);
        self.world.engine.sleep_at_least(takes).await;
        self.step().await;
    }

    /// A pause of a client, who has no clock that matters.
    async fn pause(&self, from: u64, to: u64) {
        let micros = self.world.engine.between(from, to);
        self.world.engine.sleep(micros).await;
        self.step().await;
    }
}

//! Where finished connections lie until somebody who wants one takes it.
//!
//! It is between those who want connections and the one task that makes them. After some failures in a row those who
//! come are sent away at once until the next attempt is due: a server that is down is not worth a queue.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, watch},
    time::Instant,
};

use crate::{connection::Connection, error::DialError};

/// Why no connection can be had.
#[derive(Debug, Clone)]
pub(crate) struct DialFailure {
    pub(crate) error: DialError,
    pub(crate) next_attempt: Instant,
}

/// How the server's door looks to those who want to go in.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// The last attempt succeeded, or there was none.
    Open,
    /// The last attempts failed, but not often enough to send anybody away.
    Doubtful(DialFailure),
    /// Too many failed: nobody waits before the next attempt is due.
    Shut(DialFailure),
}

/// Where finished connections lie until somebody who wants one takes it.
///
/// With deadpool's bound on those who create, it also bounds the connections: an attempt begins only if fewer are
/// under way or lie here than are wanted at that moment, and whoever wants one holds a place in the pool.
#[derive(Debug)]
pub(crate) struct Dock {
    berth: Mutex<Berth>,
    /// One permit for each connection that lies here. Whoever is woken and goes away passes the permit on.
    laid_down: Semaphore,
    wanted_more: Notify,
    door: watch::Sender<Door>,
    /// Connections to the server that exist, wherever they are.
    alive: Arc<AtomicUsize>,
}

/// One lock for both, so that a connection and the wish it fulfils leave together: in between the dialling task
/// would see a wish without a connection, and make one too many.
#[derive(Debug, Default)]
struct Berth {
    /// The one laid down last is taken first.
    ready: Vec<Connection>,
    wanted: usize,
}

impl Dock {
    pub(crate) fn new() -> Self {
        Self {
            berth: Mutex::default(),
            laid_down: Semaphore::new(0),
            wanted_more: Notify::new(),
            door: watch::Sender::new(Door::Open),
            alive: Arc::default(),
        }
    }

    /// Waits for a connection, or for the news that there will be none for a while.
    ///
    /// Cancel safe: the wish is withdrawn, and a connection made for it waits for the next.
    pub(crate) async fn next(&self) -> Result<Connection, DialFailure> {
        let mut door = self.door.subscribe();
        let mut wish = Wish::of(self);
        loop {
            // Also when the door is shut: what lies here is as good as ever.
            if let Ok(permit) = self.laid_down.try_acquire()
                && let Some(connection) = wish.fulfil(permit)
            {
                return Ok(connection);
            }
            // While there are others, one may come back: a server with no room for more still serves those it has.
            if let Door::Shut(failure) = &*door.borrow_and_update()
                && Instant::now() < failure.next_attempt
                && self.alive() == 0
            {
                return Err(failure.clone());
            }
            tokio::select! {
                biased;
                permit = self.laid_down.acquire() => {
                    if let Ok(permit) = permit && let Some(connection) = wish.fulfil(permit) {
                        return Ok(connection);
                    }
                }
                _ = door.changed() => {}
            }
        }
    }

    /// What the last attempt ran into, if nothing has succeeded since.
    pub(crate) fn failure(&self) -> Option<DialFailure> {
        match &*self.door.borrow() {
            Door::Open => None,
            Door::Doubtful(failure) | Door::Shut(failure) => Some(failure.clone()),
        }
    }

    /// Counts the connections that exist; each adds itself, and takes itself away when it ends.
    pub(crate) fn register(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.alive)
    }

    /// Connections to the server that exist at present.
    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::Acquire)
    }

    /// Whether somebody waits here for a connection: then one that comes back should be laid down here. A free one now
    /// is better than a new one soon.
    pub(crate) fn is_waited_at(&self) -> bool {
        self.missing() > 0
    }

    /// Connections lying here.
    pub(crate) fn len(&self) -> usize {
        self.berth().ready.len()
    }

    /// Takes out those that `due` says to close, for the caller to drop.
    pub(crate) fn reap(&self, mut due: impl FnMut(&Connection) -> bool) -> Vec<Connection> {
        let mut removed = Vec::new();
        let mut berth = self.berth();
        let mut index = 0;
        while index < berth.ready.len() {
            if !due(&berth.ready[index]) {
                index += 1;
                continue;
            }
            // Without a permit it is promised to somebody who has just been woken.
            let Ok(permit) = self.laid_down.try_acquire() else {
                break;
            };
            permit.forget();
            removed.push(berth.ready.remove(index));
        }
        removed
    }

    /// Lays a connection down for whoever has waited longest.
    pub(crate) fn lay_down(&self, connection: Connection) {
        self.berth().ready.push(connection);
        self.laid_down.add_permits(1);
    }

    /// Connections that are wanted and do not lie here yet.
    pub(crate) fn missing(&self) -> usize {
        let berth = self.berth();
        berth.wanted.saturating_sub(berth.ready.len())
    }

    /// Says how the server's door looks now, to those who wait as well.
    pub(crate) fn set_door(&self, door: Door) {
        self.door.send_replace(door);
    }

    /// Returns when more may be wanted than when last asked. Cancel safe: the news waits for whoever asks next.
    pub(crate) async fn wanted_more(&self) {
        self.wanted_more.notified().await;
    }

    fn berth(&self) -> MutexGuard<'_, Berth> {
        self.berth.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody wants a connection: until it is fulfilled, or he goes away.
struct Wish<'a> {
    dock: &'a Dock,
    open: bool,
}

impl<'a> Wish<'a> {
    fn of(dock: &'a Dock) -> Self {
        dock.berth().wanted += 1;
        dock.wanted_more.notify_one();
        Self { dock, open: true }
    }

    fn fulfil(&mut self, permit: SemaphorePermit<'_>) -> Option<Connection> {
        permit.forget();
        let mut berth = self.dock.berth();
        let connection = berth.ready.pop()?;
        berth.wanted -= 1;
        self.open = false;
        Some(connection)
    }
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        if self.open {
            self.dock.berth().wanted -= 1;
        }
    }
}

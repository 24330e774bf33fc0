//! A share's door: so many inside, so many waiting, the others turned away at once.
//!
//! The queue is first come, first served. What stands before it (a budget) and what orders it under a standing queue
//! (`CoDel`) belong in this file.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::{
    error::Error,
    metrics::{Metrics, Role, Share, ShareLabels},
};

/// Bounds how many borrow connections for one purpose, and how many wait to.
#[derive(Debug)]
pub(crate) struct Gate {
    share: Share,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
    in_use_gauge: Gauge,
    waiting_gauge: Gauge,
}

/// A place inside, given back on drop.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    gauge: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Gate {
    pub(crate) fn new(
        server: Role,
        share: Share,
        places: usize,
        most_waiting: usize,
        metrics: &Metrics,
    ) -> Self {
        let labels = ShareLabels { server, share };
        Self {
            share,
            places: Arc::new(Semaphore::new(places)),
            waiting: AtomicUsize::new(0),
            most_waiting,
            in_use_gauge: metrics.in_use.get_or_create_owned(&labels),
            waiting_gauge: metrics.waiting.get_or_create_owned(&labels),
        }
    }

    /// Waits for a place, not past `deadline`.
    ///
    /// Cancel safe: whoever goes away while waiting leaves the queue and takes no place.
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`] at once, [`Error::DeadlineExceeded`] at the deadline, [`Error::Closed`].
    pub(crate) async fn enter(&self, deadline: Instant) -> Result<Place, Error> {
        // The semaphore gives a free place to those who wait before it gives it to those who try.
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(self.place(permit));
        }
        let share = self.share;
        let _waiter = Waiter::join(self).ok_or(Error::QueueFull { share })?;
        let began = Instant::now();
        match timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(self.place(permit)),
            Ok(Err(_closed)) => Err(Error::Closed),
            Err(_elapsed) => Err(Error::DeadlineExceeded {
                share,
                waited: began.elapsed(),
            }),
        }
    }

    /// Turns everybody away from now on, those who wait included.
    pub(crate) fn close(&self) {
        self.places.close();
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        self.in_use_gauge.inc();
        Place {
            _permit: permit,
            gauge: self.in_use_gauge.clone(),
        }
    }
}

/// One of those who wait; leaves the count on drop.
struct Waiter<'a>(&'a Gate);

impl<'a> Waiter<'a> {
    fn join(gate: &'a Gate) -> Option<Self> {
        gate.waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
                (waiting < gate.most_waiting).then_some(waiting + 1)
            })
            .ok()?;
        gate.waiting_gauge.inc();
        Some(Self(gate))
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        self.0.waiting_gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn gate(places: usize, waiters: usize) -> Gate {
        let metrics = Metrics::unregistered();
        Gate::new(Role::Primary, Share::Writes, places, waiters, &metrics)
    }

    fn in_a_second() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_in_vain_hears_so_at_the_deadline() {
        let gate = gate(1, 4);
        let _inside = gate.enter(in_a_second()).await.unwrap();
        let began = Instant::now();
        let error = gate.enter(in_a_second()).await.unwrap_err();
        assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error}");
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        assert_eq!(gate.waiting_gauge.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_has_an_end() {
        let gate = gate(1, 2);
        let inside = gate.enter(in_a_second()).await.unwrap();
        let mut first = std::pin::pin!(gate.enter(in_a_second()));
        let mut second = std::pin::pin!(gate.enter(in_a_second()));
        assert!(futures::poll!(&mut first).is_pending());
        assert!(futures::poll!(&mut second).is_pending());
        let error = gate.enter(in_a_second()).await.unwrap_err();
        assert!(matches!(error, Error::QueueFull { .. }), "{error}");
        drop(inside);
        assert!(first.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_goes_away_leaves_no_trace() {
        let gate = gate(1, 1);
        let inside = gate.enter(in_a_second()).await.unwrap();
        {
            let mut waiter = std::pin::pin!(gate.enter(in_a_second()));
            assert!(futures::poll!(&mut waiter).is_pending());
            assert_eq!(gate.waiting_gauge.get(), 1);
        }
        assert_eq!(gate.waiting_gauge.get(), 0);
        {
            // Another one is let into the queue, is promised the place, and goes away too.
            let mut waiter = std::pin::pin!(gate.enter(in_a_second()));
            assert!(futures::poll!(&mut waiter).is_pending());
            drop(inside);
        }
        assert_eq!(gate.in_use_gauge.get(), 0);
        assert!(gate.enter(in_a_second()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_turns_everybody_away() {
        let gate = gate(1, 1);
        let _inside = gate.enter(in_a_second()).await.unwrap();
        let mut waiter = std::pin::pin!(gate.enter(in_a_second()));
        assert!(futures::poll!(&mut waiter).is_pending());
        gate.close();
        assert!(matches!(waiter.await, Err(Error::Closed)));
        assert!(matches!(
            gate.enter(in_a_second()).await,
            Err(Error::Closed)
        ));
    }
}

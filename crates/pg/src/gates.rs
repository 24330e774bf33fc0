//! The shares of a pool: which gates stand before which kind of work.

use tokio::time::Instant;

use crate::{
    error::Error,
    gate::{Gate, GateLimits, Place},
    metrics::{Metrics, Role, Share},
    policy::Policy,
};

/// One gate per share. Lists and the second lane pass two: one that they share, which leaves a connection to the first
/// lane, and the lanes'.
#[derive(Debug)]
pub(crate) struct Gates {
    lanes: Gate,
    lists: Gate,
    writes: Gate,
    background: Gate,
    control: Gate,
}

/// The places a lease holds.
#[derive(Debug)]
pub(crate) struct Places {
    _first: Place,
    _second: Option<Place>,
}

impl Gates {
    pub(crate) fn new(role: Role, policy: &Policy, metrics: &Metrics) -> Self {
        let acquire = &policy.acquire;
        let gate = |share, places| {
            let limits = GateLimits {
                places,
                waiting: places * acquire.waiters_per_connection,
                patience: acquire.patience(share),
                queue: acquire.queue(share),
            };
            Gate::new(role, share, limits, metrics)
        };
        let shares = policy.shares;
        Self {
            lanes: gate(Share::Lanes, shares.lanes),
            lists: gate(Share::Lists, shares.lanes.saturating_sub(1).max(1)),
            writes: gate(Share::Writes, shares.writes),
            background: gate(Share::Background, shares.background),
            control: gate(Share::Control, shares.control),
        }
    }

    /// Waits for what a lease of `share` needs, not past `deadline`. Cancel safe as [`Gate::enter`].
    pub(crate) async fn enter(&self, share: Share, deadline: Instant) -> Result<Places, Error> {
        let gate = match share {
            Share::Lanes => &self.lanes,
            Share::SecondLane | Share::Lists => &self.lists,
            Share::Writes => &self.writes,
            Share::Background => &self.background,
            Share::Control => &self.control,
        };
        let first = gate.enter(deadline).await?;
        let second = match share {
            Share::SecondLane | Share::Lists => Some(self.lanes.enter(deadline).await?),
            Share::Lanes | Share::Writes | Share::Background | Share::Control => None,
        };
        Ok(Places {
            _first: first,
            _second: second,
        })
    }

    /// Closes every gate.
    pub(crate) fn close(&self) {
        for gate in [
            &self.lanes,
            &self.lists,
            &self.writes,
            &self.background,
            &self.control,
        ] {
            gate.close();
        }
    }
}

//! Closes connections that nobody has used for a while, or that have lived long enough.
//!
//! deadpool closes nothing by itself. Because it lends the connection used last, those a burst opened sink to the
//! bottom and come to their idle limit there; with first-in first-out each would be touched in turn and none ever idle.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::pool::Shared;

/// Looks through the free connections every [`crate::AgePolicy::reaper_period`] until `shutdown`.
pub(crate) async fn run(pool: Arc<Shared>, shutdown: CancellationToken) {
    let mut ticks = interval(pool.policy.age.reaper_period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => pool.reap(),
        }
    }
}

//! Counts of pulls on the metrics page.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What became of pulls that were counted.
#[derive(Debug, Clone, Default)]
pub(super) struct PullMetrics {
    flushed: Counter,
    lost: Counter,
    waiting: Gauge,
}

impl PullMetrics {
    pub(super) fn register(&self, page: &mut Registry) {
        let page = page.sub_registry_with_prefix("portolan_pull_counts");
        page.register(
            "flushed",
            "Pulls that were counted and written down",
            self.flushed.clone(),
        );
        page.register(
            "lost",
            "Pulls whose count found no room while the database took none",
            self.lost.clone(),
        );
        page.register(
            "waiting",
            "Counts that are not written down yet",
            self.waiting.clone(),
        );
    }

    pub(super) fn flushed(&self, pulls: u64) {
        self.flushed.inc_by(pulls);
    }

    pub(super) fn lost(&self, pulls: u64) {
        self.lost.inc_by(pulls);
    }

    /// One more waits.
    pub(super) fn waits(&self) {
        self.waiting.inc();
    }

    /// So many are on their way.
    pub(super) fn taken(&self, counts: usize) {
        self.waiting
            .dec_by(i64::try_from(counts).unwrap_or(i64::MAX));
    }

    #[cfg(test)]
    pub(super) fn lost_so_far(&self) -> u64 {
        self.lost.get()
    }
}

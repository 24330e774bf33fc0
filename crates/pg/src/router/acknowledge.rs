//! The acknowledgement barrier: a write waits until no reader can miss it.

use tokio::time::sleep;

use crate::{
    error::Error,
    freshness::{barrier::Verdict, clock::Moment},
    metrics::{BarrierLabels, BarrierOutcome},
    router::Servers,
    tx::Committed,
};

impl Servers {
    /// Waits for the barrier; returns at the latest a silence after COMMIT.
    ///
    /// Cancel safe: the change stands; nobody has been told.
    pub(crate) async fn acknowledge(&self, committed: Committed) -> Result<(), Error> {
        let write = committed.after;
        let began = self.knowledge.now();
        let mut news = self.knowledge.news();
        let mut waiting = None;
        let outcome = loop {
            news.mark_unchanged();
            let until = match self.knowledge.judge(&write) {
                Verdict::Acknowledged if waiting.is_none() => break BarrierOutcome::AtOnce,
                Verdict::Acknowledged if self.knowledge.missing(&write).is_empty() => {
                    break BarrierOutcome::Observed;
                }
                Verdict::Acknowledged => break BarrierOutcome::Timer,
                Verdict::PerhapsLost => break BarrierOutcome::PerhapsLost,
                Verdict::Wait { until } => until,
            };
            if waiting.is_none() {
                waiting = Some(self.waiters.join());
                self.watch_all();
            }
            let left = until.since(self.knowledge.now());
            tokio::select! {
                changed = news.changed() => changed.map_err(|_| Error::Closed)?,
                () = sleep(left) => {}
            }
        };
        self.count_barrier(outcome, began);
        match outcome {
            BarrierOutcome::PerhapsLost => Err(Error::EpochChanged),
            _ => Ok(()),
        }
    }

    /// Has every replica asked how far it is.
    pub(crate) fn watch_all(&self) {
        for replica in &self.replicas {
            replica.watched.notify_one();
        }
    }

    fn count_barrier(&self, outcome: BarrierOutcome, began: Moment) {
        let labels = BarrierLabels { outcome };
        let waited = self.knowledge.now().since(began).as_secs_f64();
        let metrics = &self.metrics;
        metrics.barriers.get_or_create(&labels).observe(waited);
    }
}

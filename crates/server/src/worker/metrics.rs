//! Jobs on `/metrics`.

use super::Kind;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// Seconds: from a look that finds nothing to a long night.
const SECONDS: [f64; 8] = [0.005, 0.05, 0.5, 5.0, 30.0, 120.0, 600.0, 3600.0];

impl EncodeLabelValue for Kind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(self.name())
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// As it should.
    Done,
    /// With an error; it is tried again.
    Failed,
    /// Somebody else has the job now.
    LeaseLost,
    /// The process is ending.
    Cancelled,
    /// The registry went into read-only mode.
    Paused,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::LeaseLost => "lease_lost",
            Self::Cancelled => "cancelled",
            Self::Paused => "paused",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    kind: Kind,
    outcome: Outcome,
}

/// Metrics of the worker.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    runs: Family<ByOutcome, Counter>,
    seconds: Family<ByKind, Histogram, fn() -> Histogram>,
    items: Family<ByKind, Counter>,
    running: Family<ByKind, Gauge>,
}

impl Metrics {
    /// Makes the metrics and puts them on the page.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let metrics = Self {
            runs: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            items: Family::default(),
            running: Family::default(),
        };
        let jobs = registry.sub_registry_with_prefix("portolan_job");
        jobs.register(
            "runs",
            "Runs of jobs, by how they ended",
            metrics.runs.clone(),
        );
        jobs.register(
            "run_duration_seconds",
            "Time a run took",
            metrics.seconds.clone(),
        );
        jobs.register(
            "items",
            "Rows or objects that jobs dealt with",
            metrics.items.clone(),
        );
        jobs.register(
            "running",
            "Jobs at work in this process",
            metrics.running.clone(),
        );
        metrics
    }

    pub(super) fn begun(&self, kind: Kind) {
        self.running.get_or_create(&ByKind { kind }).inc();
    }

    pub(super) fn dealt_with(&self, kind: Kind, items: u64) {
        self.items.get_or_create(&ByKind { kind }).inc_by(items);
    }

    pub(super) fn ended(&self, kind: Kind, outcome: Outcome, took: Duration) {
        self.running.get_or_create(&ByKind { kind }).dec();
        self.runs.get_or_create(&ByOutcome { kind, outcome }).inc();
        self.seconds
            .get_or_create(&ByKind { kind })
            .observe(took.as_secs_f64());
    }
}

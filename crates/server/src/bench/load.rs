//! The two loops: closed (as fast as answered) and open (when due).

use super::fixture::Fixture;
use super::process::{Sampler, Usage};
use super::scenario::Scenario;
use super::target::Target;
use hdrhistogram::Histogram;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Different failures kept for the report; the rest are only counted.
const KEPT_FAILURES: usize = 8;

/// One scenario's run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    pub(crate) clients: u16,
    pub(crate) rate: Option<u32>,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    pub(crate) max_requests: u64,
    pub(crate) seed: u64,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Latency of the successes in microseconds.
    pub(crate) latency: Histogram<u64>,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) bytes: u64,
    /// From the end of the warm-up to the last answer.
    pub(crate) elapsed: Duration,
    pub(crate) usage: Option<Usage>,
}

/// A run's shared clock and counter.
struct Pace {
    begin: Instant,
    measure_from: Instant,
    end: Instant,
    interval: Option<Duration>,
    next: AtomicU64,
    measured: AtomicU64,
    max_requests: u64,
}

impl Pace {
    fn new(plan: &Plan) -> Self {
        let begin = Instant::now();
        let measure_from = begin + plan.warm_up;
        Self {
            begin,
            measure_from,
            end: measure_from + plan.measured,
            interval: plan.rate.map(|rate| Duration::from_secs(1) / rate),
            next: AtomicU64::new(0),
            measured: AtomicU64::new(0),
            max_requests: plan.max_requests,
        }
    }

    /// When the next request is due; waits for it. `None` when the run is over.
    async fn next(&self) -> Option<Instant> {
        let due = match self.interval {
            None => Instant::now(),
            Some(interval) => {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                // In nanoseconds, or a u32 multiplication would end the run after 71 minutes at 1M/s.
                let offset = interval.as_nanos() * u128::from(index);
                let due = self.begin + Duration::from_nanos(u64::try_from(offset).ok()?);
                tokio::time::sleep_until(due.min(self.end)).await;
                due
            }
        };
        if due >= self.end {
            return None;
        }
        let counted = due >= self.measure_from;
        if counted && self.measured.fetch_add(1, Ordering::Relaxed) >= self.max_requests {
            return None;
        }
        Some(due)
    }
}

/// Runs the plan.
pub(crate) async fn run(
    plan: &Plan,
    target: &Target,
    fixture: &Arc<Fixture>,
    pids: &[u32],
) -> anyhow::Result<Outcome> {
    // Before the clock runs.
    let connections: Vec<_> = (0..plan.clients).map(|_| target.connect()).collect();
    let pace = Arc::new(Pace::new(plan));
    let mut clients = JoinSet::new();
    for (index, connection) in (0..plan.clients).zip(connections) {
        let (plan, fixture, pace) = (plan.clone(), Arc::clone(fixture), Arc::clone(&pace));
        clients.spawn(async move {
            let mut random = StdRng::seed_from_u64(plan.seed << 16 | u64::from(index));
            let mut seen = Seen::new();
            let prepare = |random: &mut StdRng| {
                plan.scenario
                    .prepare(&connection, &fixture, fixture.tags.max(1), random)
            };
            let mut operation = prepare(&mut random);
            while let Some(due) = pace.next().await {
                // A closed loop times the request alone; an open loop also what kept it from being sent.
                let from = if plan.rate.is_some() {
                    due
                } else {
                    Instant::now()
                };
                let result = operation.perform(&connection).await;
                if due >= pace.measure_from {
                    seen.record(from.elapsed(), result);
                }
                operation = prepare(&mut random);
            }
            seen
        });
    }
    tokio::time::sleep_until(pace.measure_from).await;
    let sampler = Sampler::start(pids)?;
    let mut all = Seen::new();
    while let Some(seen) = clients.join_next().await {
        all.add(seen?);
    }
    let elapsed = pace.measure_from.elapsed();
    let usage = sampler.finish().await?;
    Ok(Outcome {
        latency: all.latency,
        failures: all.failures,
        bytes: all.bytes,
        elapsed,
        usage,
    })
}

struct Seen {
    latency: Histogram<u64>,
    failures: BTreeMap<String, u64>,
    bytes: u64,
}

impl Seen {
    fn new() -> Self {
        // Three digits: errors below 0.1 %, up to an hour.
        let latency = Histogram::new_with_bounds(1, 3_600_000_000, 3);
        Self {
            latency: latency.expect("the bounds are in order"),
            failures: BTreeMap::new(),
            bytes: 0,
        }
    }

    fn record(&mut self, took: Duration, result: anyhow::Result<u64>) {
        match result {
            Ok(bytes) => {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.latency.saturating_record(micros.max(1));
                self.bytes += bytes;
            }
            Err(failure) => self.count(format!("{failure:#}"), 1),
        }
    }

    fn count(&mut self, failure: String, times: u64) {
        let known = self.failures.len() < KEPT_FAILURES || self.failures.contains_key(&failure);
        let key = if known { failure } else { "other".to_owned() };
        *self.failures.entry(key).or_default() += times;
    }

    fn add(&mut self, other: Self) {
        self.latency
            .add(&other.latency)
            .expect("all histograms have the same bounds");
        self.bytes += other.bytes;
        for (failure, times) in other.failures {
            self.count(failure, times);
        }
    }
}

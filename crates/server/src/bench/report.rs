//! A line for people, an object for programs.

use super::load::{Outcome, Plan};
use clap::ValueEnum as _;
use std::collections::BTreeMap;
use std::fmt;

/// The figures of one scenario.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Report {
    scenario: String,
    clients: u16,
    /// Requested per second; absent in a closed loop.
    rate: Option<u32>,
    anonymous: bool,
    seed: u64,
    seconds: f64,
    succeeded: u64,
    failed: u64,
    per_second: f64,
    mib_per_second: f64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// CPU time of the server's processes for each success.
    server_cpu_us_per_operation: Option<f64>,
    server_peak_resident_bytes: Option<u64>,
    failures: BTreeMap<String, u64>,
}

impl Report {
    pub(crate) const HEADER: &'static str = "scenario          clients     op/s    MiB/s   p50 ms   p99 ms   max ms  cpu us/op  peak MiB   failed";

    pub(crate) fn new(plan: &Plan, anonymous: bool, outcome: &Outcome) -> Self {
        let succeeded = outcome.latency.len();
        let seconds = outcome.elapsed.as_secs_f64();
        let millis = |quantile| figure(outcome.latency.value_at_quantile(quantile)) / 1000.0;
        let value = plan
            .scenario
            .to_possible_value()
            .expect("no scenario is hidden");
        Self {
            scenario: value.get_name().to_owned(),
            clients: plan.clients,
            rate: plan.rate,
            anonymous: anonymous && !plan.scenario.writes(),
            seed: plan.seed,
            seconds,
            succeeded,
            failed: outcome.failures.values().sum(),
            per_second: figure(succeeded) / seconds,
            mib_per_second: figure(outcome.bytes) / seconds / f64::from(1 << 20),
            p50_ms: millis(0.5),
            p90_ms: millis(0.9),
            p99_ms: millis(0.99),
            max_ms: figure(outcome.latency.max()) / 1000.0,
            server_cpu_us_per_operation: outcome
                .usage
                .map(|usage| usage.cpu.as_secs_f64() * 1e6 / figure(succeeded.max(1))),
            server_peak_resident_bytes: outcome.usage.map(|usage| usage.peak_resident),
            failures: outcome.failures.clone(),
        }
    }

    pub(crate) fn nothing_succeeded(&self) -> bool {
        self.succeeded == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
        let cpu = shown(self.server_cpu_us_per_operation);
        let peak = self
            .server_peak_resident_bytes
            .map(|bytes| figure(bytes) / f64::from(1 << 20));
        let peak = shown(peak);
        write!(
            out,
            "{:<18}{:>6} {:>9.1} {:>8.1} {:>8.2} {:>8.2} {:>8.2} {cpu:>10} {peak:>9} {:>8}",
            self.scenario,
            self.clients,
            self.per_second,
            self.mib_per_second,
            self.p50_ms,
            self.p99_ms,
            self.max_ms,
            self.failed
        )?;
        for (failure, times) in &self.failures {
            write!(out, "\n    {times} x {failure}")?;
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a figure is shown with four digits, and has fifteen"
)]
fn figure(count: u64) -> f64 {
    count as f64
}

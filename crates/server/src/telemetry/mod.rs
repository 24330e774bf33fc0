//! Logs on standard error, and the page of metrics.

mod process;

use crate::config::{Log, LogFormat};
use prometheus_client::registry::Registry;
use std::io::IsTerminal as _;
use std::sync::Once;
use tracing_subscriber::EnvFilter;

pub(crate) use process::ProcessCollector;

/// Starts logging as configured; a second call in the same process changes nothing.
pub(crate) fn start(log: &Log) {
    // The configuration has checked the level already.
    let filter = EnvFilter::try_new(&log.level).unwrap_or_default();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => subscriber
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => subscriber
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
    };
    if started.is_ok() {
        log_panics();
    }
}

/// Panics become log lines, with the task or request they came from.
fn log_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let what = panic.payload_as_str().unwrap_or("no message");
            let place = panic
                .location()
                .map(ToString::to_string)
                .unwrap_or_default();
            tracing::error!(place, "panic at {place}: {what}");
        }));
    });
}

/// The registry of metrics that `/metrics` shows, with those of the process itself.
pub(crate) fn metrics_page() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ProcessCollector));
    registry
}

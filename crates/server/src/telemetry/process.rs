//! Memory, CPU time and open files of this process, under the names every Prometheus client uses.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;

/// Reads `/proc/self` when the page is asked for.
#[derive(Debug)]
pub(crate) struct ProcessCollector;

/// What one reading gives.
#[derive(Debug, Clone, Copy)]
struct Reading {
    cpu_seconds: f64,
    resident_bytes: u64,
    open_files: u64,
}

impl Reading {
    /// `None` where there is no `/proc`.
    fn take() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the program's name in brackets, which may hold anything.
        let (_, fields) = stat.rsplit_once(") ")?;
        let field = |number: usize| fields.split(' ').nth(number - 3)?.parse::<u64>().ok();
        // proc(5): 14 utime, 15 stime in clock ticks, 24 rss in pages.
        let ticks = field(14)? + field(15)?;
        let resident_pages = field(24)?;
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count();
        #[expect(
            clippy::cast_precision_loss,
            reason = "ticks of a process stay far below 2^53"
        )]
        let cpu_seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        Some(Self {
            cpu_seconds,
            resident_bytes: resident_pages * page,
            open_files: u64::try_from(open_files).ok()?,
        })
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(reading) = Reading::take() else {
            return Ok(());
        };
        let cpu = ConstCounter::new(reading.cpu_seconds);
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            "User and system time of this process",
            None,
            cpu.metric_type(),
        )?)?;
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Resident memory",
                reading.resident_bytes,
            ),
            (
                "process_open_fds",
                "Open files and sockets",
                reading.open_files,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let reading = Reading::take().expect("Linux has /proc");
        assert!(reading.resident_bytes > 1 << 20 && reading.open_files > 2);
    }
}

//! What the process costs: memory, CPU time, open files, read from `/proc` when somebody asks.

use std::fs;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};

/// Ticks per second in `/proc/*/stat`: fixed at 100 in what Linux shows to programs.
const TICKS_PER_SECOND: u64 = 100;

/// The figures of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessFigures {
    /// Memory in RAM.
    pub resident_bytes: u64,
    /// CPU time used since the start, user and system.
    pub cpu_ms: u64,
    /// Threads.
    pub threads: u64,
    /// Open files and sockets.
    pub open_files: u64,
}

/// The figures of this process now; `None` where there is no `/proc`.
#[must_use]
pub fn figures() -> Option<ProcessFigures> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let open_files = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(ProcessFigures {
        resident_bytes: field(&status, "VmRSS:")? * 1024,
        cpu_ms: u64::try_from(cpu(&stat)?.as_millis()).ok()?,
        threads: field(&status, "Threads:")?,
        open_files: u64::try_from(open_files).ok()?,
    })
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The program's name is in parentheses and may hold anything, so fields are counted from the last one.
fn cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

/// Makes the figures part of `/metrics`.
pub(super) fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(ProcessCollector));
}

#[derive(Debug)]
struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(figures) = figures() else { return Ok(()) };
        let gauges = [
            ("process_resident_memory_bytes", "Memory in RAM", figures.resident_bytes),
            ("process_threads", "Threads", figures.threads),
            ("process_open_fds", "Open files and sockets", figures.open_files),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let seconds = ConstCounter::new(Duration::from_millis(figures.cpu_ms).as_secs_f64());
        let help = "CPU time used, user and system";
        seconds.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, seconds.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_the_fields_are_counted_after_its_name() {
        let figures = figures().expect("Linux has /proc");
        assert!(figures.resident_bytes > 1024 * 1024 && figures.threads >= 1 && figures.open_files >= 1);
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1000 1 1";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
    }
}

//! What the shop says about itself while it is under load: once a second, from its process and its metrics.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::record::ServerSample;
use crate::process;
use crate::targets::local::figures::sum;
use crate::wire;

/// How long the metrics may take. A shop that has no time to tell them leaves its figures out.
const PATIENCE: Duration = Duration::from_millis(800);

/// The newest sample. Clones hold the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerView {
    newest: Rc<Cell<Option<ServerSample>>>,
}

impl ServerView {
    /// The newest sample.
    pub(super) fn newest(&self) -> Option<ServerSample> {
        self.newest.get()
    }

    /// Looks once a second, for ever. The process and those that it started are looked at when `pid` is given.
    pub(super) async fn watch(self, url: String, pid: Option<u32>) {
        let mut shop = pid.map(Usage::of);
        let mut generator = Usage::of(std::process::id());
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            let mut sample = ServerSample::default();
            if let Some(shop) = &mut shop {
                shop.look();
                sample.cpu = shop.processors;
                sample.resident_kib = shop.resident_kib;
                sample.written_bytes = shop.written_bytes;
            }
            generator.look();
            sample.generator_cpu = generator.processors;
            sample.generator_resident_kib = generator.resident_kib;
            if let Ok(reply) = wire::get(&url, "/metrics", PATIENCE).await
                && reply.status.is_success()
            {
                read(&reply.text(), &mut sample);
            }
            self.newest.set(Some(sample));
        }
    }
}

fn read(metrics: &str, sample: &mut ServerSample) {
    let all = |name: &str| sum(metrics, name, |_| true);
    sample.open_files = all("process_open_fds");
    sample.orders = sum(metrics, "orders_total", |labels| labels.contains("status=\"confirmed\""));
    sample.sagas_in_flight = all("saga_inflight");
    sample.sagas_stuck = all("saga_stuck");
    sample.queue_depth = all("queue_depth");
    sample.dead_letters = all("dlq_depth");
    sample.pool_waiting = all("db_pool_waiting");
    sample.shed = all("requests_shed_total");
}

/// What a process and those that it started use, from one look to the next.
#[derive(Debug)]
struct Usage {
    pid: u32,
    at: Instant,
    cpu: Option<Duration>,
    written: Option<u64>,
    processors: Option<f64>,
    resident_kib: Option<u64>,
    written_bytes: Option<u64>,
}

impl Usage {
    fn of(pid: u32) -> Self {
        let family = process::family(pid);
        Self {
            pid,
            at: Instant::now(),
            cpu: family.iter().filter_map(|pid| process::cpu_time(*pid)).reduce(|one, two| one + two),
            written: family.iter().filter_map(|pid| written(*pid)).reduce(|one, two| one + two),
            processors: None,
            resident_kib: family
                .iter()
                .filter_map(|pid| process::memory(*pid))
                .map(|memory| memory.resident_kib)
                .reduce(|one, two| one + two),
            written_bytes: None,
        }
    }

    fn look(&mut self) {
        let next = Self::of(self.pid);
        let passed = (next.at - self.at).as_secs_f64();
        // The first look comes at once and has nothing to compare with.
        if passed > 0.5 {
            let used = next.cpu.zip(self.cpu).map(|(now, before)| now.saturating_sub(before).as_secs_f64());
            let written = next.written.zip(self.written).map(|(now, before)| now.saturating_sub(before));
            let processors = used.map(|used| (used / passed * 1000.0).round() / 1000.0);
            *self = Self { processors, written_bytes: written, ..next };
        }
    }
}

/// Bytes that a process made the disk write.
fn written(pid: u32) -> Option<u64> {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_metrics_do_not_have_is_absent() {
        let mut sample = ServerSample::default();
        read("not metrics", &mut sample);
        assert_eq!(sample, ServerSample::default());
        read(
            "# TYPE saga_inflight gauge\nsaga_inflight 3\nqueue_depth{queue=\"a\"} 2\nqueue_depth{queue=\"b\"} 5\n",
            &mut sample,
        );
        assert_eq!((sample.sagas_in_flight, sample.queue_depth), (Some(3), Some(7)));
    }

    #[test]
    fn this_process_uses_memory() {
        let mut usage = Usage::of(std::process::id());
        usage.look();
        assert!(usage.resident_kib.is_some_and(|kib| kib > 0));
    }
}

//! JSON logs: one object a line with `ts`, `level`, `message`, `service`, `request_id`, `trace_id`, `order_id`,
//! `target` and the event's own fields.
//!
//! A log call never waits: the line goes to a thread with a bounded queue, and a line that finds no room is counted
//! (`log_lines_dropped_total`) instead. The newest lines stay in memory for the operations page.

mod file;
mod layer;
mod ring;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tracing::Level;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::layer::SubscriberExt as _;

pub use layer::LogLayer;
pub use ring::{LogQuery, LogRecord};

use file::LogFile;
use ring::LogRing;
use writer::{Writer, WriterQueue};

use crate::vocabulary::Env;

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The file could not be opened.
    #[error("log file `{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The process logs elsewhere already.
    #[error("logging was begun twice in one process")]
    Begun(#[from] SetGlobalDefaultError),
}

/// The logs of this process.
#[derive(Debug)]
pub struct Logs {
    ring: Arc<Mutex<LogRing>>,
    writer: OnceLock<Writer>,
    dropped: Counter,
}

impl Logs {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let dropped = Counter::default();
        registry.register(
            "log_lines_dropped",
            "Log lines that found no room on their way out",
            dropped.clone(),
        );
        Self { ring: Arc::default(), writer: OnceLock::new(), dropped }
    }

    /// Begins to log what is at least as severe as `level` to `file` (appended to, kept small), or to stderr when there is
    /// none. Several processes may share a file; each line then names its `process`. Once per process.
    pub fn begin(
        &self,
        env: &Env,
        level: Level,
        file: Option<PathBuf>,
        process: Option<String>,
    ) -> Result<(), LogsError> {
        let queue = match file {
            Some(path) => {
                let file = LogFile::open(&path).map_err(|source| LogsError::File { path, source })?;
                self.write_to(file)
            }
            None => self.write_to(std::io::stderr()),
        };
        let layer = self.layer(env, level, queue).named(process);
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))?;
        Ok(())
    }

    /// The layer that logs into memory and `queue`.
    fn layer(&self, env: &Env, level: Level, queue: Option<WriterQueue>) -> LogLayer {
        LogLayer::new(env.clone(), level, Arc::clone(&self.ring), queue)
    }

    /// A layer that logs into memory only: for tests, and for a process that shows its logs itself.
    #[must_use]
    pub fn memory_layer(&self, env: &Env, level: Level) -> LogLayer {
        self.layer(env, level, None)
    }

    fn write_to(&self, out: impl std::io::Write + Send + 'static) -> Option<WriterQueue> {
        let writer = self.writer.get_or_init(|| Writer::start(out, self.dropped.clone()));
        Some(writer.queue())
    }

    /// The newest lines that `query` asks for, newest first.
    #[must_use]
    pub fn find(&self, query: &LogQuery) -> Vec<LogRecord> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).find(query)
    }

    /// Waits until every line logged so far is written, at most `patience`. Answers whether that came true. Blocks:
    /// call it last.
    pub fn flush(&self, patience: Duration) -> bool {
        self.writer.get().is_none_or(|writer| writer.flush(patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Context;
    use crate::telemetry::{Scope, Telemetry};
    use crate::vocabulary::{Clock, OrderId, Timestamp};
    use tracing::subscriber::with_default;

    fn env() -> Env {
        Env::seeded(Clock::manual(Timestamp::UNIX_EPOCH), 1)
    }

    #[tokio::test]
    async fn a_line_carries_the_ids_of_its_scope_and_no_secret() {
        let (env, telemetry) = (env(), Telemetry::with_env(&env()));
        let subscriber =
            tracing_subscriber::registry().with(telemetry.logs().memory_layer(&env, Level::INFO));
        let guard = tracing::subscriber::set_default(subscriber);
        let context = Context::background("order", &env);
        let scope = Scope::new("order", &context);
        let order_id: OrderId = env.id();
        scope
            .run(async {
                crate::telemetry::scope::note_order(order_id);
                tracing::info!(
                    attempt = 3,
                    password = "hunter2",
                    provider = "said \"4242 4242 4242 4242\" no",
                    "charge of {} refused",
                    "4000000000000002"
                );
                tracing::debug!("not severe enough");
            })
            .await;
        drop(guard);
        let found =
            telemetry.logs().find(&LogQuery { order_id: Some(order_id), limit: 10, ..LogQuery::default() });
        assert_eq!(found.len(), 1);
        let line: serde_json::Value = serde_json::from_str(&found[0].line).expect("one JSON object");
        let expected = serde_json::json!({
            "ts": "1970-01-01T00:00:00Z",
            "level": "info",
            "message": "charge of [redacted] refused",
            "service": "order",
            "request_id": &*context.request_id,
            "trace_id": context.trace_id(),
            "order_id": order_id.to_string(),
            "target": module_path!(),
            "attempt": 3,
            "password": "[redacted]",
            "provider": "said \"[redacted]\" no",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn lines_are_written_whole_and_in_order_before_a_flush_answers() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shop.log");
        let telemetry = Telemetry::with_env(&env());
        let logs = telemetry.logs();
        let queue = logs.write_to(std::fs::File::create(&path).expect("a file"));
        let subscriber = tracing_subscriber::registry().with(logs.layer(&env(), Level::INFO, queue));
        with_default(subscriber, || (0..1000).for_each(|n| tracing::info!(n, "line")));
        assert!(logs.flush(Duration::from_secs(10)));
        let text = std::fs::read_to_string(&path).expect("written");
        let numbers: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["n"].as_u64())
            .collect();
        assert_eq!(numbers, (0..1000).map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_never_waits() {
        /// A disk that never answers.
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl std::io::Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let telemetry = Telemetry::with_env(&env());
        let logs = telemetry.logs();
        let (free, wait) = std::sync::mpsc::channel();
        let queue = logs.write_to(Stuck(wait));
        let subscriber = tracing_subscriber::registry().with(logs.layer(&env(), Level::INFO, queue));
        with_default(subscriber, || {
            (0..20_000).for_each(|_| tracing::info!(text = "x".repeat(1000), "line"));
        });
        assert!(!logs.flush(Duration::from_millis(10)), "nothing was written yet");
        assert!(logs.dropped.get() >= 10_000);
        assert!(telemetry.metrics_text().contains("log_lines_dropped_total"));
        drop(free);
        assert!(logs.flush(Duration::from_secs(10)));
    }
}

//! What the shop tells of itself: logs, metrics, traces, health.
//!
//! One [`Telemetry`] per process, handed down. What a request costs here is a few microseconds: labels are
//! `&'static str` or a route's template (so their number is bounded), spans go into a ring in memory, log lines
//! to a thread of their own. Nothing in this room can make a request fail or wait.
//!
//! - [`Telemetry::observe`] wraps a service's router: rate, errors and duration per route, a span, the scope of logs.
//! - [`Telemetry::meters`] holds the shop's own metrics, one method for each thing that can happen.
//! - [`Telemetry::start`] opens a span for work that is not a request: a message, a saga's step.
//! - [`Telemetry::health`] is where services name what they need to be ready.
//! - [`scope`] gives a log line its `request_id`, `trace_id` and `order_id`.
//! - [`redaction`] keeps card numbers, tokens and passwords out of all of it.

pub mod health;
pub mod live;
pub mod logs;
pub mod meters;
pub mod otlp;
pub mod process;
pub mod redaction;
mod requests;
pub mod scope;
pub mod traces;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;

pub use health::Health;
pub use live::{LivePoint, LiveSeries};
pub use logs::{LogQuery, LogRecord, Logs, LogsError};
pub use meters::{BreakerState, Meters};
pub use requests::RouteMeter;
pub(crate) use requests::method_label;
pub use scope::Scope;
pub use traces::{Attribute, Name, Span, SpanKind, TraceQuery, TraceStore, TraceSummary};

use crate::vocabulary::Env;

/// Metrics, logs and traces of this process. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    registry: Mutex<Registry>,
    meters: Meters,
    traces: TraceStore,
    logs: Logs,
    health: Health,
    live: LiveSeries,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    /// Telemetry on the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_env(&Env::system())
    }

    /// Telemetry that tells time and makes span ids by `env`.
    #[must_use]
    pub fn with_env(env: &Env) -> Self {
        let mut registry = Registry::default();
        let meters = Meters::new(&mut registry);
        let logs = Logs::new(&mut registry);
        let traces = TraceStore::new(&mut registry);
        process::register(&mut registry);
        Self {
            inner: Arc::new(Inner {
                env: env.clone(),
                registry: Mutex::new(registry),
                meters,
                traces,
                logs,
                health: Health::default(),
                live: LiveSeries::default(),
            }),
        }
    }

    /// Registers metrics of the caller's own: `register` is handed the registry once, at mount.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The shop's metrics.
    #[must_use]
    pub fn meters(&self) -> &Meters {
        &self.inner.meters
    }

    /// Finished spans, for the operations page.
    #[must_use]
    pub fn traces(&self) -> &TraceStore {
        &self.inner.traces
    }

    /// Recent log lines, and the way to start logging.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.inner.logs
    }

    /// What must be well for the process to be ready.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.inner.health
    }

    /// Orders, requests and latency of the last five minutes, per second.
    #[must_use]
    pub fn live(&self) -> &LiveSeries {
        &self.inner.live
    }

    /// Counts an order that reached `status`, and shows confirmed ones on the live chart.
    pub fn order_reached(&self, status: &'static str) {
        self.inner.meters.order_reached(status);
        if status == "confirmed" {
            self.inner.live.order(self.inner.env.now());
        }
    }

    /// The metrics in OpenMetrics' text format; served as [`METRICS_CONTENT_TYPE`].
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let mut text = String::new();
        let registry = self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner);
        match prometheus_client::encoding::text::encode(&mut text, &registry) {
            Ok(()) => text,
            Err(error) => format!("# metrics could not be encoded: {error}\n"),
        }
    }
}

/// The content type of [`Telemetry::metrics_text`].
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

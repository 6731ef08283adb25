//! What the shop tells of itself: logs, metrics, traces, health.
//!
//! One [`Telemetry`] per process, handed down. Labels are bounded: a route is its template, never a path.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;

/// Metrics, logs and traces of this process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    registry: Arc<Mutex<Registry>>,
}

impl Telemetry {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers metrics: `register` is handed the registry once, at mount.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The metrics in Prometheus' text format (OpenMetrics).
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        match prometheus_client::encoding::text::encode(&mut text, &registry) {
            Ok(()) => text,
            Err(error) => format!("# metrics could not be encoded: {error}\n"),
        }
    }
}

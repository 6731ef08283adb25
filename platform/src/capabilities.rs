//! What a service is handed when it is mounted: the only way for it to reach the world.

use std::collections::HashMap;
use std::sync::Arc;

use crate::bus::Bus;
use crate::config::ShopConfig;
use crate::http::{Endpoint, HttpClient};
use crate::secrets::Secrets;
use crate::storage::Db;
use crate::telemetry::Telemetry;
use crate::vocabulary::Env;

/// Built once by `app`, cloned into every service.
#[derive(Clone)]
pub struct Capabilities {
    /// Time, chance and ids.
    pub env: Env,
    /// The settings.
    pub config: Arc<ShopConfig>,
    /// The shop's secrets.
    pub secrets: Arc<Secrets>,
    /// The data. A service touches only the tables that carry its name.
    pub db: Db,
    /// Topics and queues.
    pub bus: Bus,
    /// The way out over sockets (providers).
    pub http: HttpClient,
    /// Metrics, logs and traces.
    pub telemetry: Telemetry,
    /// Where the services are.
    pub endpoints: Arc<HashMap<&'static str, Endpoint>>,
    /// Where the payment provider answers: known once the sandbox listens, or from the configuration.
    pub provider_url: Arc<str>,
    /// Where the sandbox takes orders about how to misbehave: it answers there also while it refuses the shop.
    pub control_url: Arc<str>,
}

impl Capabilities {
    /// Where `service` is. Every service of the manifest has an endpoint, so a missing one is a bug in `app`.
    #[must_use]
    pub fn endpoint(&self, service: &'static str) -> Endpoint {
        self.endpoints.get(service).cloned().unwrap_or_else(|| Endpoint::in_process(service))
    }
}

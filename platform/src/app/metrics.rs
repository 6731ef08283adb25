//! The role that tells Kubernetes the shop's own metrics. It runs by itself: it has no data and no secrets, and whatever
//! becomes of it, the shop goes on.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::start::{self, StartError};
use crate::config::ShopConfig;
use crate::external_metrics::{self, Callers, CertificateFiles, Figures, Peer, Running, Series, Tls};
use crate::services::SERVICES;

/// The port when none is told.
pub const METRICS_PORT: u16 = 8443;
/// The service whose processes count the sagas.
const SAGAS_OF: &str = "order";

/// What the role is told.
#[derive(Clone, Debug)]
pub struct MetricsOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the services answer, as base URLs; a service that is not named is on this machine at its own port.
    pub peers: HashMap<String, Vec<String>>,
    /// What is spoken; none means TLS with a certificate of its own making, and on loopback no TLS when anybody may ask.
    pub certificate: Option<CertificateFiles>,
    /// Who may ask.
    pub callers: Callers,
    /// The namespace whose shop this is; none answers for any.
    pub namespace: Option<String>,
}

/// Why the role did not start.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// It cannot listen or log.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The certificate or the callers' authority cannot be used.
    #[error("cannot speak TLS: {0}")]
    Tls(String),
}

/// The role while it runs.
pub struct RunningMetrics {
    /// Its base URL.
    pub url: String,
    running: Running,
}

impl RunningMetrics {
    /// Lets requests in flight finish and stops.
    pub async fn drain(self) {
        self.running.drain().await;
    }
}

/// Answers for the shop's metrics until it is drained.
pub async fn serve_metrics(
    config: &ShopConfig,
    options: MetricsOptions,
) -> Result<RunningMetrics, MetricsError> {
    let env = config.env();
    let telemetry = start::begin_telemetry(config, &env)?;
    let (listener, url) = start::listen(options.listen).await?;
    let tls = match options.certificate {
        Some(files) => Tls::Files(files),
        None if options.listen.ip().is_loopback() && options.callers == Callers::Anybody => Tls::None,
        None => Tls::Made,
    };
    let url = if tls == Tls::None { url } else { url.replacen("http", "https", 1) };
    let figures = Figures::new(series(), peers(&options.peers), env);
    let running =
        external_metrics::start(listener, tls, options.callers, figures, options.namespace, telemetry);
    let running = running.await.map_err(MetricsError::Tls)?;
    tracing::info!(role = "metrics", url, "listening");
    Ok(RunningMetrics { url, running })
}

/// What a scaler can ask for: the sagas under way, and the age of what waits longest in each queue.
fn series() -> Vec<Series> {
    let sagas = Series { metric: "saga_inflight", service: SAGAS_OF, queue: None };
    let queues = SERVICES.iter().flat_map(|service| {
        service.queues.iter().map(|queue| Series {
            metric: "queue_oldest_seconds",
            service: service.manifest.name,
            queue: Some(queue.name),
        })
    });
    std::iter::once(sagas).chain(queues).collect()
}

fn peers(told: &HashMap<String, Vec<String>>) -> Vec<Peer> {
    let peer = |name: &'static str, port: u16| {
        let usual = || vec![format!("http://127.0.0.1:{port}")];
        Peer { service: name.to_owned(), urls: told.get(name).cloned().unwrap_or_else(usual) }
    };
    SERVICES.iter().map(|service| peer(service.manifest.name, service.manifest.port)).collect()
}

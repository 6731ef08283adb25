//! The role as a whole: from what it is told to a listener that answers, and its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::api::{self, Answers};
use super::cluster::Cluster;
use super::door::{Certificate, CertificateFiles, Door, Trust};
use super::figures::Figures;
use super::listener;
use crate::telemetry::Telemetry;

/// How long the last log lines may take to be written.
const LOG_FLUSH_MAX: Duration = Duration::from_secs(1);

/// What is spoken on the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Nothing: for tests, on loopback.
    None,
    /// TLS with a certificate that is made at the start. Nobody can check it.
    Made,
    /// TLS with the certificate in these files, which may change at any time.
    Files(CertificateFiles),
}

/// Who may ask for figures. Everybody may ask how the process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Callers {
    /// Whoever reaches the listener.
    #[default]
    Anybody,
    /// Whoever shows a certificate of the authority in this file, which may change at any time.
    File {
        /// The authority's certificates, in PEM.
        authority: PathBuf,
        /// Of those that it vouches for, only these; all of them when there is none.
        names: Vec<String>,
    },
    /// The API server of this cluster.
    ApiServer(Cluster),
}

/// A listener that answers. Dropping it stops nothing in an orderly way: call [`Running::drain`].
pub struct Running {
    telemetry: Telemetry,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// Answers on `listener` with `figures`, for the shop in `namespace` or, without one, in any.
///
/// # Errors
/// When the certificate or the callers' authority cannot be read or used, or when callers should be known on a
/// listener without TLS.
pub async fn start(
    listener: TcpListener,
    tls: Tls,
    callers: Callers,
    figures: Figures,
    namespace: Option<String>,
    telemetry: Telemetry,
) -> Result<Running, String> {
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let certificate = match tls {
        Tls::None if callers == Callers::Anybody => None,
        Tls::None => {
            return Err("callers are known by their certificate, and without TLS there is none".to_owned());
        }
        Tls::Made => Some(Certificate::make()?),
        Tls::Files(files) => Some(Certificate::Files(files)),
    };
    let trust = match callers {
        Callers::Anybody => Trust::Anybody,
        Callers::File { authority, names } => Trust::File { authority, names },
        Callers::ApiServer(cluster) => {
            let (tell, told) = watch::channel(None);
            tasks.spawn(cluster.watch(tell, stop.clone()));
            let known = told.clone();
            telemetry.health().register("api-server", move || {
                let is_known = known.borrow().is_some();
                async move {
                    let unknown = || "it has not told yet by which certificate it is known".to_owned();
                    is_known.then_some(()).ok_or_else(unknown)
                }
            });
            Trust::Told(told)
        }
    };
    let door = match certificate {
        Some(certificate) => Some(Arc::new(Door::new(certificate, trust).await?)),
        None => None,
    };
    let router = api::router(Answers { figures, namespace }, &telemetry);
    tasks.spawn(listener::serve(listener, door, router, stop.clone()));
    telemetry.health().set_up(true);
    Ok(Running { telemetry, stop, tasks })
}

impl Running {
    /// Stops in order: not ready, listener closed, requests finished. Takes ten seconds at most.
    pub async fn drain(mut self) {
        self.telemetry.health().set_up(false);
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        tracing::info!("stopped");
        self.telemetry.logs().flush(LOG_FLUSH_MAX);
    }
}

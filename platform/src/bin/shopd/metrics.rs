//! `shopd serve metrics`: what that role is told beside its address and its peers.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use platform::app::{
    self, Callers, CertificateFiles, Cluster, METRICS_PORT, MetricsError, MetricsOptions, RunningMetrics,
    ShopConfig,
};

use crate::{Failed, exit, failed, usage};

#[derive(Args)]
#[command(next_help_heading = "For the role metrics")]
pub(crate) struct Metrics {
    /// Its certificate, in PEM; read again when it changes. Without one it makes one that nobody can check, and on loopback
    /// speaks no TLS
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "SHOPD_TLS_CERTIFICATE")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key
    #[arg(long, value_name = "FILE", requires = "tls_certificate", env = "SHOPD_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// Answer only callers with a certificate of the authority in this file; read again when it changes
    #[arg(long, value_name = "FILE", env = "SHOPD_CLIENT_CA")]
    client_ca: Option<PathBuf>,
    /// Of those, only the one of this name; may be repeated
    #[arg(long, value_name = "NAME", requires = "client_ca")]
    client_name: Vec<String>,
    /// Answer only the API server of the cluster that this pod runs in, which tells by what certificate it is known
    #[arg(long, conflicts_with = "client_ca", env = "SHOPD_ONLY_API_SERVER", value_parser = clap::builder::FalseyValueParser::new())]
    only_api_server: bool,
    /// The namespace that the shop is in: whoever asks for another is told that it has none of these metrics
    #[arg(long, value_name = "NAME", env = "SHOPD_NAMESPACE")]
    namespace: Option<String>,
}

impl Metrics {
    /// Refuses what another role would pass over.
    pub(crate) fn is_not_told(&self) -> Result<(), String> {
        let told = [
            ("--tls-certificate", self.tls_certificate.is_some()),
            ("--client-ca", self.client_ca.is_some()),
            ("--only-api-server", self.only_api_server),
            ("--namespace", self.namespace.is_some()),
        ];
        match told.iter().find(|(_, is_told)| *is_told) {
            Some((flag, _)) => Err(format!("{flag} is for the role `metrics`")),
            None => Ok(()),
        }
    }

    fn callers(&self) -> Result<Callers, String> {
        Ok(match &self.client_ca {
            Some(file) => Callers::File { authority: file.clone(), names: self.client_name.clone() },
            None if self.only_api_server => Callers::ApiServer(Cluster::of_this_pod()?),
            None => Callers::Anybody,
        })
    }
}

/// Starts the role. `peers` are services with their URLs, which commas separate.
pub(crate) async fn start(
    config: &ShopConfig,
    told: Metrics,
    listen: Option<SocketAddr>,
    peers: Vec<(String, String)>,
) -> Result<RunningMetrics, Failed> {
    let urls =
        |text: &str| text.split(',').map(|url| url.trim().to_owned()).filter(|url| !url.is_empty()).collect();
    let options = MetricsOptions {
        listen: listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS_PORT))),
        peers: peers.into_iter().map(|(name, text)| (name, urls(&text))).collect(),
        callers: told.callers().map_err(usage)?,
        certificate: told
            .tls_certificate
            .zip(told.tls_key)
            .map(|(certificate, key)| CertificateFiles { certificate, key }),
        namespace: told.namespace,
    };
    app::serve_metrics(config, options).await.map_err(|error| match error {
        MetricsError::Start(error) => failed(error),
        MetricsError::Tls(_) => (exit::PREFLIGHT, error.to_string()),
    })
}

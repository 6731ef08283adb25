//! The cluster that this pod runs in, asked by which certificate its API server is known when it passes requests on.
//!
//! Every cluster tells that in one ConfigMap, `extension-apiserver-authentication` in `kube-system`. It is in another
//! namespace than the shop, so that a pod cannot mount it; it is read with the pod's token.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, header};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::authority::{Authority, roots};
use crate::http::client::chain;

/// Where a pod finds its token and the authority of its API server.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const CONFIG_MAP: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
/// How long the API server may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often it is asked, and how soon again when it did not answer.
const ASK_EVERY: Duration = Duration::from_secs(60);
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(3);

/// How a pod reaches the API server of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// `https://10.96.0.1:443`.
    pub url: String,
    /// The folder with `token` and `ca.crt`.
    pub account: PathBuf,
}

#[derive(Deserialize)]
struct ConfigMap {
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(rename = "requestheader-client-ca-file")]
    authority: Option<String>,
    /// A list in JSON.
    #[serde(rename = "requestheader-allowed-names")]
    names: Option<String>,
}

impl Cluster {
    /// The one that this pod runs in.
    ///
    /// # Errors
    /// When this process runs in no pod.
    pub fn of_this_pod() -> Result<Self, String> {
        let told = |name: &str| {
            std::env::var(name).map_err(|_| format!("this process runs in no pod: there is no {name}"))
        };
        let (host, port) = (told("KUBERNETES_SERVICE_HOST")?, told("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Ok(Self { url: format!("https://{host}:{port}"), account: ACCOUNT.into() })
    }

    /// Asks for the authority now and then and tells it, until `stop`. One that was told stays when the API server is away.
    pub(super) async fn watch(self, told: watch::Sender<Option<Authority>>, stop: CancellationToken) {
        loop {
            let pause = match self.authority().await {
                Ok(authority) => {
                    told.send_if_modified(|known| {
                        let is_new = known.as_ref() != Some(&authority);
                        *known = Some(authority);
                        is_new
                    });
                    ASK_EVERY
                }
                Err(error) => {
                    tracing::warn!(error, "the API server did not tell by which certificate it is known");
                    ASK_AGAIN_AFTER
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn authority(&self) -> Result<Authority, String> {
        let asked = tokio::time::timeout(ANSWER_MAX, self.config_map()).await;
        let data = asked.map_err(|_| format!("{}: no answer within {ANSWER_MAX:?}", self.url))??.data;
        let pem = data.authority.ok_or("the cluster has no front proxy: it names no authority for one")?;
        let names = data.names.as_deref().unwrap_or("[]");
        let names =
            serde_json::from_str(names).map_err(|error| format!("requestheader-allowed-names: {error}"))?;
        roots(pem.as_bytes()).map_err(|why| format!("requestheader-client-ca-file: {why}"))?;
        Ok(Authority { pem: pem.into_bytes(), names })
    }

    async fn config_map(&self) -> Result<ConfigMap, String> {
        let read = async |name: &str| {
            let path = self.account.join(name);
            tokio::fs::read(&path).await.map_err(|error| format!("cannot read `{}`: {error}", path.display()))
        };
        let token = String::from_utf8(read("token").await?).map_err(|error| error.to_string())?;
        let roots = roots(&read("ca.crt").await?).map_err(|why| format!("ca.crt: {why}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .build();
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", self.url);
        let request = Request::get(format!("{}{CONFIG_MAP}", self.url))
            .header(header::AUTHORIZATION, format!("Bearer {}", token.trim()))
            .header(header::ACCEPT, "application/json")
            .body(Full::<Bytes>::default())
            .map_err(|error| failed(&error))?;
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let answer = client.request(request).await.map_err(|error| failed(&chain(&error)))?;
        if !answer.status().is_success() {
            return Err(failed(&format!("it answers {}", answer.status())));
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| failed(&error))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| failed(&error))
    }
}

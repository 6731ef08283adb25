//! The cluster's own word on who its API server is.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use platform::app::{Callers, Cluster, MetricsOptions};
use rustls::ServerConfig;
use rustls::crypto::ring;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::certificates::{Authority, ask};
use super::shop::{FakeProcess, options, peers, started, until, values_of};

const PATH: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
const TOKEN: &str = "the-pods-token";

/// As much of an API server as a pod asks for who it is.
struct ApiServer {
    url: String,
    account: TempDir,
    answer: Arc<Mutex<(StatusCode, Value)>>,
    listening: JoinHandle<()>,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl ApiServer {
    /// One that answers with 403, as where the pod's account has no right to ask.
    async fn start() -> Self {
        let authority = Authority::new("cluster");
        let identity = authority.server();
        let account = tempfile::tempdir().unwrap();
        std::fs::write(account.path().join("token"), format!("{TOKEN}\n")).unwrap();
        std::fs::write(account.path().join("ca.crt"), &authority.pem).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(identity.chain(), identity.private_key())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new((StatusCode::FORBIDDEN, json!({"kind": "Status"}))));
        let listening =
            tokio::spawn(listen(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&answer)));
        Self { url, account, answer, listening }
    }

    fn tells(&self, data: Value) {
        *self.answer.lock().unwrap() =
            (StatusCode::OK, json!({"kind": "ConfigMap", "apiVersion": "v1", "data": data}));
    }

    fn callers(&self) -> Callers {
        Callers::ApiServer(Cluster { url: self.url.clone(), account: self.account.path().to_owned() })
    }
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, answer: Arc<Mutex<(StatusCode, Value)>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(stream) = acceptor.accept(stream).await else { continue };
        let answer = Arc::clone(&answer);
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let is_allowed = request
                .headers()
                .get("authorization")
                .is_some_and(|value| value == &format!("Bearer {TOKEN}"));
            let (status, body) = match request.uri().path() {
                _ if !is_allowed => (StatusCode::UNAUTHORIZED, Value::Null),
                PATH => answer.lock().unwrap().clone(),
                _ => (StatusCode::NOT_FOUND, Value::Null),
            };
            let response = Response::builder().status(status).body(Body::from(body.to_string())).unwrap();
            std::future::ready(Ok::<_, std::convert::Infallible>(response))
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move { connection.await.ok() });
    }
}

#[tokio::test]
async fn the_cluster_tells_by_which_certificate_its_api_server_is_known() {
    let api_server = ApiServer::start().await;
    let (servers, proxies) = (Authority::new("servers"), Authority::new("front-proxy"));
    let folder = tempfile::tempdir().unwrap();
    let process = FakeProcess::telling("saga_inflight 3\n").await;
    let role = started(MetricsOptions {
        certificate: Some(servers.server().write(folder.path())),
        callers: api_server.callers(),
        ..options(peers(&[("order", &[&process.url])]).await)
    });
    let role = role.await;
    let sagas = values_of("saga_inflight", "");
    let (proxy, node) = (proxies.caller("front-proxy-client"), proxies.caller("node-1"));
    let asked = async |path: &str, identity| {
        let answer = ask(&role.url, path, &servers.pem, identity).await.unwrap();
        (answer.status, answer.body)
    };

    // While the cluster has not told, nobody is the API server, and the process says that it is not ready.
    assert_eq!(asked(&sagas, Some(&proxy)).await.0, StatusCode::UNAUTHORIZED);
    let (status, readiness) = asked("/readyz", None).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(readiness.to_string().contains("api-server"), "{readiness}");
    assert_eq!(asked("/healthz", None).await.0, StatusCode::OK, "a new process would know no more");

    api_server.tells(json!({"client-ca-file": "…"}));
    assert_eq!(asked("/readyz", None).await.0, StatusCode::SERVICE_UNAVAILABLE);
    api_server.tells(json!({
        "requestheader-allowed-names": "[\"front-proxy-client\",\"aggregator\"]",
        "requestheader-client-ca-file": proxies.pem,
        "requestheader-username-headers": "[\"X-Remote-User\"]",
    }));
    until(async || asked("/readyz", None).await, |status, _| status == StatusCode::OK).await;
    let told = until(async || asked(&sagas, Some(&proxy)).await, |status, _| status == StatusCode::OK).await;
    assert_eq!(told["items"][0]["value"], "3");
    assert_eq!(asked(&sagas, Some(&node)).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(asked(&sagas, None).await.0, StatusCode::UNAUTHORIZED);
    role.drain().await;
}

//! A shop whose processes tell what a test wants, and the role that is told of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use http_body_util::Full;
use platform::app::{self, Callers, MetricsOptions, RunningMetrics, ShopConfig};
use platform::http::HttpClient;
use platform::http::address::segment;
use platform::http::server::{self, ServerLimits};
use platform::services::SERVICES;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How a process answers.
#[derive(Clone)]
enum Manner {
    Tells(String),
    Fails,
    Hangs,
}

/// A process of the shop. It ends with the test.
pub(super) struct FakeProcess {
    pub(super) url: String,
    manner: Arc<Mutex<Manner>>,
    asked: Arc<AtomicUsize>,
    _stop: DropGuard,
}

impl FakeProcess {
    /// One that tells `exposition` of itself.
    pub(super) async fn telling(exposition: &str) -> Self {
        Self::telling_at("127.0.0.1:0", exposition).await.expect("a free port")
    }

    /// The same, at this address; none where that cannot be had.
    pub(super) async fn telling_at(address: &str, exposition: &str) -> Option<Self> {
        let listener = TcpListener::bind(address).await.ok()?;
        let manner = Arc::new(Mutex::new(Manner::Tells(exposition.to_owned())));
        let asked = Arc::new(AtomicUsize::new(0));
        let (known, count) = (Arc::clone(&manner), Arc::clone(&asked));
        let router = Router::new().fallback(move |request: Request| {
            let manner = known.lock().unwrap().clone();
            count.fetch_add(1, Ordering::SeqCst);
            async move { answer(manner, request.uri().path()).await }
        });
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(server::serve(listener, router, ServerLimits::default(), stop.clone()));
        Some(Self { url, manner, asked, _stop: stop.drop_guard() })
    }

    pub(super) fn now_tells(&self, exposition: &str) {
        *self.manner.lock().unwrap() = Manner::Tells(exposition.to_owned());
    }

    pub(super) fn now_fails(&self) {
        *self.manner.lock().unwrap() = Manner::Fails;
    }

    pub(super) fn now_hangs(&self) {
        *self.manner.lock().unwrap() = Manner::Hangs;
    }

    /// How often it was asked for anything.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn answer(manner: Manner, path: &str) -> Response {
    match manner {
        Manner::Tells(text) if path == "/metrics" => text.into_response(),
        Manner::Tells(_) => StatusCode::NOT_FOUND.into_response(),
        Manner::Fails => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Manner::Hangs => std::future::pending().await,
    }
}

/// An address at which nobody listens.
pub(super) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// The addresses of a whole shop: those in `told`, and nobody for every other service.
pub(super) async fn peers(told: &[(&str, &[&str])]) -> HashMap<String, Vec<String>> {
    let nobody = nobody().await;
    let mut peers: HashMap<_, _> =
        SERVICES.iter().map(|service| (service.manifest.name.to_owned(), vec![nobody.clone()])).collect();
    for (service, urls) in told {
        let known = peers.insert((*service).to_owned(), urls.iter().map(|url| (*url).to_owned()).collect());
        assert!(known.is_some(), "there is no service `{service}`");
    }
    peers
}

/// What the role is told when anybody may ask.
pub(super) fn options(peers: HashMap<String, Vec<String>>) -> MetricsOptions {
    MetricsOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        peers,
        certificate: None,
        callers: Callers::Anybody,
        namespace: None,
    }
}

pub(super) async fn started(options: MetricsOptions) -> RunningMetrics {
    let folder = tempfile::tempdir().unwrap();
    app::serve_metrics(&ShopConfig::local(folder.path().to_owned()), options).await.unwrap()
}

/// The role in the clear, beside a shop of `told`.
pub(super) async fn beside(told: &[(&str, &[&str])]) -> RunningMetrics {
    started(options(peers(told).await)).await
}

/// What is answered at `path`: the status, the content type, and the JSON.
pub(super) async fn get(role: &RunningMetrics, path: &str) -> (StatusCode, Value) {
    get_from(&role.url, path).await
}

/// The same, where only the address is at hand.
pub(super) async fn get_from(url: &str, path: &str) -> (StatusCode, Value) {
    asked(url, "GET", path).await
}

pub(super) async fn ask(role: &RunningMetrics, method: &str, path: &str) -> (StatusCode, Value) {
    asked(&role.url, method, path).await
}

async fn asked(url: &str, method: &str, path: &str) -> (StatusCode, Value) {
    let client = HttpClient::new(PATIENCE);
    let url = format!("{url}{path}");
    let request = axum::http::Request::builder().method(method).uri(url).body(Full::default()).unwrap();
    let answer = client.send(request, PATIENCE).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json", "{method} {path}");
    assert!(!answer.headers().contains_key("retry-after"), "Kubernetes' clients would ask again at once");
    (answer.status(), serde_json::from_slice(answer.body()).unwrap())
}

/// Where the values of `metric` are, in a namespace.
pub(super) fn values_of(metric: &str, selector: &str) -> String {
    let selector = segment(selector);
    format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/{metric}?labelSelector={selector}")
}

/// Asks again until `is_it`, or fails with the last answer.
pub(super) async fn until(
    mut answer: impl AsyncFnMut() -> (StatusCode, Value),
    is_it: impl Fn(StatusCode, &Value) -> bool,
) -> Value {
    let began = Instant::now();
    loop {
        let (status, value) = answer().await;
        if is_it(status, &value) {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "still {status}: {value}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

//! The one way out over a socket: HTTP/1.1 with pooled connections, TLS by rustls where the URL says https.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::CallError;

/// The most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A pooled HTTP client. Cheap to clone; clones share the pool.
#[derive(Clone)]
pub struct HttpClient {
    pool: Arc<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpClient")
    }
}

impl HttpClient {
    /// A client whose connection attempts end after `connect_timeout`.
    #[must_use]
    pub fn new(connect_timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_timeout));
        let provider = rustls::crypto::ring::default_provider();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(provider)
            .expect("ring knows the default protocol versions")
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(64)
            // Only a request that was still waiting when its kept connection closed: no byte of it had left.
            .retry_canceled_requests(true)
            .build(connector);
        Self { pool: Arc::new(pool) }
    }

    /// Sends `request` and reads the whole answer within `timeout`.
    ///
    /// [`CallError::Refused`] means that no byte of the request left: nothing can have happened. Anything that
    /// fails later is [`CallError::Unknown`]: the other side may have acted.
    pub async fn send(
        &self,
        request: hyper::Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<hyper::Response<Bytes>, CallError> {
        let exchange = async {
            let response = self.head(request).await?;
            let (parts, body) = response.into_parts();
            let bytes = Limited::new(body, ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| CallError::Unknown(error.to_string()))?
                .to_bytes();
            Ok(hyper::Response::from_parts(parts, bytes))
        };
        within(timeout, exchange).await
    }

    /// Sends `request` and waits up to `timeout` for the head of the answer; the body comes as it comes. Fails as
    /// [`HttpClient::send`] does.
    pub async fn stream(
        &self,
        request: hyper::Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<hyper::Response<Incoming>, CallError> {
        within(timeout, self.head(request)).await
    }

    async fn head(
        &self,
        request: hyper::Request<Full<Bytes>>,
    ) -> Result<hyper::Response<Incoming>, CallError> {
        self.pool.request(request).await.map_err(|error| {
            if error.is_connect() {
                CallError::Refused(chain(&error))
            } else {
                CallError::Unknown(chain(&error))
            }
        })
    }
}

async fn within<T>(
    timeout: Duration,
    exchange: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(timeout, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(CallError::Unknown(format!("no answer within {} ms", timeout.as_millis()))),
    }
}

/// An error with what led to it: the client's own words are only that it failed.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

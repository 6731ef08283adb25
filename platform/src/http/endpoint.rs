//! Where a sibling service is: in this process, or behind a URL. Nothing else about a call differs.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::Service as _;

use super::envelope::Keyring;
use super::{Addresses, Context, HttpClient, Problem, envelope};
use crate::vocabulary::Env;

/// Why a call brought no usable answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The other side answered with a problem: it acted as the problem says, that is, not at all unless it says so.
    #[error("{} ({})", .0.detail, .0.title)]
    Problem(Box<Problem>),
    /// Nothing was sent: nothing can have happened.
    #[error("the other side could not be reached: {0}")]
    Refused(String),
    /// Sent, but no usable answer came: it may have happened or not. Never treat this as a failure of the act.
    #[error("the answer never came: {0}")]
    Unknown(String),
}

impl CallError {
    /// The problem that the other side answered, if it did answer.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Refused(_) | Self::Unknown(_) => None,
        }
    }
}

impl From<CallError> for Problem {
    /// Hands a sibling's problem on as it is; a sibling that is away is 503.
    fn from(error: CallError) -> Self {
        match error {
            CallError::Problem(problem) => *problem,
            CallError::Refused(reason) | CallError::Unknown(reason) => {
                tracing::warn!(reason, "a sibling did not answer");
                Self::new(super::Code::Unavailable, "a part of the shop does not answer, try again")
                    .retry_after(Duration::from_secs(1))
            }
        }
    }
}

/// A service's address. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Endpoint {
    service: &'static str,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// A call is a call into the sibling's router: no socket, no signature, the context handed over as it is.
    InProcess(Arc<Local>),
    Remote(Arc<Remote>),
    /// The gateway, from outside: what anybody may ask, with the context's bearer token and no envelope.
    Public {
        base_url: Arc<str>,
        client: HttpClient,
        timeout: Duration,
    },
}

/// Answers what lies ready for a request, whoever asks, without a wait; or nothing.
pub type Ready = dyn Fn(&Request<Body>) -> Option<Response<Body>> + Send + Sync;

/// A service of this process.
#[derive(Default)]
struct Local {
    router: OnceLock<Router>,
    ready: OnceLock<Box<Ready>>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Local")
    }
}

/// A service behind one URL or several: its replicas.
#[derive(Debug)]
struct Remote {
    addresses: Addresses,
    client: HttpClient,
    keyring: Keyring,
    env: Env,
    timeout: Duration,
}

impl Endpoint {
    /// A service of this process; [`Endpoint::bind`] gives it its router before the first call.
    #[must_use]
    pub fn in_process(service: &'static str) -> Self {
        Self { service, place: Place::InProcess(Arc::default()) }
    }

    /// A service behind `addresses` (`http://product:8082`, or several); calls are signed with `keyring` and end after
    /// `timeout`, however many replicas were tried.
    ///
    /// A replica that refuses the connection costs nothing: no byte has left, the next is asked. One that goes away
    /// in the middle of an exchange may have acted, so the next is asked only when the act may be repeated: the
    /// method is idempotent, the request carries an `Idempotency-Key`, or it is an internal act, which all are
    /// idempotent by the order or the key that they name.
    #[must_use]
    pub fn remote(
        service: &'static str,
        addresses: impl Into<Addresses>,
        client: HttpClient,
        keyring: Keyring,
        env: Env,
        timeout: Duration,
    ) -> Self {
        let remote = Remote { addresses: addresses.into(), client, keyring, env, timeout };
        Self { service, place: Place::Remote(Arc::new(remote)) }
    }

    /// `service` as the public reaches it: through the gateway at `base_url`, as whoever the context's bearer token
    /// names.
    #[must_use]
    pub fn public(service: &'static str, base_url: &str, client: HttpClient, timeout: Duration) -> Self {
        let base_url = base_url.trim_end_matches('/').into();
        Self { service, place: Place::Public { base_url, client, timeout } }
    }

    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// Whether calls go over a socket.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        !matches!(self.place, Place::InProcess(_))
    }

    /// Gives an in-process endpoint the router that answers it. The first router stays.
    pub fn bind(&self, router: Router) {
        if let Place::InProcess(local) = &self.place {
            let _ = local.router.set(router);
        }
    }

    /// Has `ready` asked before the router: what it answers is what the router would have answered at that moment, only
    /// sooner, and it counts the request itself as the layers around the router would have. The first one stays.
    pub fn lay_ready(
        &self,
        ready: impl Fn(&Request<Body>) -> Option<Response<Body>> + Send + Sync + 'static,
    ) {
        if let Place::InProcess(local) = &self.place {
            let _ = local.ready.set(Box::new(ready));
        }
    }

    /// What lies ready for `request`, where the service is in this process.
    #[must_use]
    pub fn at_once(&self, request: &Request<Body>) -> Option<Response<Body>> {
        match &self.place {
            Place::InProcess(local) => local.ready.get().and_then(|ready| ready(request)),
            Place::Remote(_) | Place::Public { .. } => None,
        }
    }

    /// Sends a request as `context` and hands back the answer, whatever its status. Streams in process; reads the
    /// whole answer otherwise.
    pub async fn send(&self, context: &Context, request: Request<Body>) -> Result<Response<Body>, CallError> {
        match self.at_once(&request) {
            Some(response) => Ok(response),
            None => self.ask(context, request).await,
        }
    }

    async fn ask(&self, context: &Context, mut request: Request<Body>) -> Result<Response<Body>, CallError> {
        match &self.place {
            Place::InProcess(local) => {
                let router = local
                    .router
                    .get()
                    .ok_or_else(|| CallError::Refused(format!("service `{}` is not up yet", self.service)))?;
                request.extensions_mut().insert(context.clone());
                // A router is ready at any time.
                match router.clone().call(request).await {
                    Ok(response) => Ok(response),
                    Err(never) => match never {},
                }
            }
            // Boxed, both: else every call in this process would carry the room that a socket needs.
            Place::Remote(remote) => Box::pin(self.send_away(remote, context, request)).await,
            Place::Public { base_url, client, timeout } => {
                Box::pin(send_through_gateway(base_url, client, *timeout, context, request)).await
            }
        }
    }

    async fn send_away(
        &self,
        remote: &Remote,
        context: &Context,
        request: Request<Body>,
    ) -> Result<Response<Body>, CallError> {
        let (parts, body) = remote.sealed(self.service, context, request).await?;
        let client = &remote.client;
        let exchange = |request| async { Ok(client.send(request, remote.timeout).await?.map(Body::from)) };
        // These requests are the shop's own, and a key is on those that honour it.
        let may_repeat = parts.method.is_idempotent()
            || parts.headers.contains_key("idempotency-key")
            || parts.uri.path().starts_with("/internal/");
        remote.ask(self.service, parts, body, may_repeat, exchange).await
    }

    /// Passes a request of somebody else's on as `context`, and streams the answer back wherever the service is. For
    /// the gateway, which asks [`Endpoint::at_once`] before: what it passes on may be a stream without an end. With
    /// `may_repeat`, another replica is asked when the first one's answer is lost.
    pub async fn forward(
        &self,
        context: &Context,
        request: Request<Body>,
        may_repeat: bool,
    ) -> Result<Response<Body>, CallError> {
        let Place::Remote(remote) = &self.place else {
            return self.ask(context, request).await;
        };
        Box::pin(self.forward_away(remote, context, request, may_repeat)).await
    }

    async fn forward_away(
        &self,
        remote: &Remote,
        context: &Context,
        request: Request<Body>,
        may_repeat: bool,
    ) -> Result<Response<Body>, CallError> {
        let (parts, body) = remote.sealed(self.service, context, request).await?;
        let client = &remote.client;
        let exchange = |request| async { Ok(client.stream(request, remote.timeout).await?.map(Body::new)) };
        let mut response = remote.ask(self.service, parts, body, may_repeat, exchange).await?;
        // These are about the connection to the service, not the one to the client.
        for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
            response.headers_mut().remove(name);
        }
        Ok(response)
    }

    /// Calls `method path` with a JSON body and reads a JSON answer. `path` holds the query, already escaped.
    pub async fn call<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        context: &Context,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<A, CallError> {
        self.call_with(context, method, path, body, &[]).await.map(|(_, answer)| answer)
    }

    /// [`Endpoint::call`] with extra headers; answers the status too.
    pub async fn call_with<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        context: &Context,
        method: Method,
        path: &str,
        body: Option<&B>,
        headers: &[(&str, &str)],
    ) -> Result<(StatusCode, A), CallError> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(serde_json::to_vec(body).map_err(|error| CallError::Refused(error.to_string()))?)
            }
            None => Body::empty(),
        };
        let request = request.body(body).map_err(|error| CallError::Refused(error.to_string()))?;
        let response = self.send(context, request).await?;
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .map_err(|error| CallError::Unknown(error.to_string()))?;
        if status.is_success() {
            let text = if bytes.is_empty() { b"null".as_slice() } else { &bytes };
            let answer = serde_json::from_slice(text).map_err(|error| {
                CallError::Unknown(format!("{} answered nonsense: {error}", self.service))
            })?;
            return Ok((status, answer));
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(CallError::Problem(Box::new(problem))),
            Err(_) => Err(CallError::Unknown(format!("{} answered {status}", self.service))),
        }
    }
}

impl Remote {
    /// The request in memory, under the envelope of `context`. The envelope names the service and not the replica, so
    /// it is good for all of them.
    async fn sealed(
        &self,
        service: &str,
        context: &Context,
        request: Request<Body>,
    ) -> Result<(Parts, Bytes), CallError> {
        let (mut parts, body) = whole(request).await?;
        envelope::seal(&self.keyring, &self.env, context, service, &mut parts, &body);
        Ok((parts, body))
    }

    /// Asks one replica after the other as long as that is safe, all within the time of one call.
    async fn ask<F>(
        &self,
        service: &str,
        parts: Parts,
        body: Bytes,
        may_repeat: bool,
        exchange: impl Fn(Request<Full<Bytes>>) -> F,
    ) -> Result<Response<Body>, CallError>
    where
        F: Future<Output = Result<Response<Body>, CallError>>,
    {
        let mut last = CallError::Refused(format!("nobody answers for `{service}` at the moment"));
        let tries = async {
            for replica in self.addresses.in_turn(&self.env) {
                let request = addressed(&replica.base_url, parts.clone(), body.clone())?;
                match exchange(request).await {
                    Err(error @ CallError::Refused(_)) => {
                        replica.rest(&self.env);
                        // That this one did nothing says nothing of one that was asked before.
                        if matches!(last, CallError::Refused(_)) {
                            last = error;
                        }
                    }
                    Err(error @ CallError::Unknown(_)) if may_repeat => {
                        replica.rest(&self.env);
                        last = error;
                    }
                    // What the second says of itself says nothing of what the first may have done.
                    Ok(response)
                        if matches!(last, CallError::Unknown(_))
                            && !parts.method.is_safe()
                            && !response.status().is_success() =>
                    {
                        return Err(last);
                    }
                    outcome => return outcome,
                }
            }
            Err(last)
        };
        let late = || CallError::Unknown(format!("no answer within {} ms", self.timeout.as_millis()));
        tokio::time::timeout(self.timeout, tries).await.unwrap_or_else(|_| Err(late()))
    }
}

/// A request with its body in memory, which is what a signature and a socket client want.
async fn whole(request: Request<Body>) -> Result<(Parts, Bytes), CallError> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .map_err(|error| CallError::Refused(error.to_string()))?;
    Ok((parts, body))
}

/// Sends a request to the gateway, as whoever the context's bearer token names.
async fn send_through_gateway(
    base_url: &str,
    client: &HttpClient,
    timeout: Duration,
    context: &Context,
    request: Request<Body>,
) -> Result<Response<Body>, CallError> {
    let (mut parts, body) = whole(request).await?;
    if let Some(bearer) = &context.bearer {
        let value = HeaderValue::from_str(&format!("Bearer {}", bearer.expose()))
            .map_err(|error| CallError::Refused(error.to_string()))?;
        parts.headers.insert(header::AUTHORIZATION, value);
    }
    over_socket(client, base_url, timeout, parts, body).await
}

async fn over_socket(
    client: &HttpClient,
    base_url: &str,
    timeout: Duration,
    parts: Parts,
    body: Bytes,
) -> Result<Response<Body>, CallError> {
    let response = client.send(addressed(base_url, parts, body)?, timeout).await?;
    Ok(response.map(Body::from))
}

fn addressed(base_url: &str, mut parts: Parts, body: Bytes) -> Result<Request<Full<Bytes>>, CallError> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = format!("{base_url}{path}")
        .parse()
        .map_err(|error: axum::http::uri::InvalidUri| CallError::Refused(error.to_string()))?;
    Ok(Request::from_parts(parts, Full::new(body)))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn listening() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (listener, url)
    }

    fn behind(urls: &[&str]) -> (Endpoint, Context) {
        let env = Env::system();
        let keyring = Keyring::new(vec![("k1".to_owned(), vec![7; 32])]).unwrap();
        let context = Context::background("test", &env);
        let client = HttpClient::new(Duration::from_secs(1));
        let addresses = Addresses::of(urls.iter().copied());
        let patience = Duration::from_secs(10);
        (Endpoint::remote("product", addresses, client, keyring, env, patience), context)
    }

    /// Reads a request and goes away without an answer.
    async fn takes_and_dies(listener: TcpListener) {
        let (mut socket, _) = listener.accept().await.unwrap();
        let read = socket.read(&mut [0; 4_096]).await.unwrap();
        assert!(read > 0);
    }

    #[tokio::test]
    async fn what_one_replica_may_have_done_stays_unknown_when_the_next_one_refuses() {
        let (dying, first) = listening().await;
        let (closed, second) = listening().await;
        drop(closed);
        let (endpoint, context) = behind(&[&first, &second]);
        let call = endpoint.call::<(), ()>(&context, Method::POST, "/internal/v1/act", None);
        let (outcome, ()) = tokio::join!(call, takes_and_dies(dying));
        assert!(matches!(outcome, Err(CallError::Unknown(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn nothing_was_done_when_every_replica_refuses() {
        let ((one, first), (two, second)) = (listening().await, listening().await);
        drop((one, two));
        let (endpoint, context) = behind(&[&first, &second]);
        let outcome = endpoint.call::<(), ()>(&context, Method::POST, "/internal/v1/act", None).await;
        assert!(matches!(outcome, Err(CallError::Refused(_))), "{outcome:?}");
    }
}

//! The edge for a socket: connections with limits and a graceful end, and the guard in front of a service that runs
//! by itself.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::envelope::{self, EnvelopeError, Keyring};
use super::head_timer::HeadTimer;
use super::{Code, Context, Problem, extract, standing};
use crate::vocabulary::{Env, clock};

/// The header that names a request, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What anybody may ask of a service without an envelope, beside how it is.
const OPEN_PATH: &str = "/.well-known/jwks.json";

/// How patient a listener is.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// The most connections at once; more wait in the system's queue.
    pub connections_max: usize,
    /// How long a connection may take to send a request's head, idle time between requests included.
    pub head_timeout: Duration,
    /// How long requests in flight may go on after the end was announced.
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections_max: 60_000,
            head_timeout: Duration::from_secs(75),
            drain: Duration::from_secs(20),
        }
    }
}

/// Serves `router` on `listener` until `stop` is cancelled; then closes the listener, lets requests in flight finish,
/// and returns, after `limits.drain` at the latest. The caller's address is each request's [`ConnectInfo`].
pub async fn serve(listener: TcpListener, router: Router, limits: ServerLimits, stop: CancellationToken) {
    let app = move |mut request: Request, from: SocketAddr| {
        request.extensions_mut().insert(ConnectInfo(from));
        router.clone().oneshot(request).map(|answered| match answered {
            Ok(response) => response,
            Err(never) => match never {},
        })
    };
    serve_with(listener, app, limits, stop).await;
}

/// [`serve`] for an application that is a function of a request and of where it came from: nothing is made for a request
/// that the function does not make.
pub async fn serve_with<A, F>(listener: TcpListener, app: A, limits: ServerLimits, stop: CancellationToken)
where
    A: Fn(Request, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let connections = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let mut builder = hyper::server::conn::http1::Builder::new();
    // Without `pipeline_flush`, which would copy every body into the buffer of the head.
    builder.header_read_timeout(limits.head_timeout);
    loop {
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others will close.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let app = app.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let request =
                request.map(|body| if body.is_end_stream() { Body::empty() } else { Body::new(body) });
            app(request, address).map(Ok::<_, Infallible>)
        });
        builder.timer(HeadTimer::default());
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A connection that breaks is its client's affair.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            drain_ms = limits.drain.as_millis(),
            "some requests did not end in time and are cut off"
        );
    }
}

/// Gives an answer its request's id: the header, and in a problem's body the field.
#[must_use]
pub fn name_request(mut response: Response, context: &Context) -> Response {
    let id = &context.request_id;
    if let Some(problem) = response.extensions_mut().remove::<Problem>()
        && problem.request_id.is_none()
    {
        let kept = problem.clone();
        let named = Problem { request_id: Some(id.to_string()), ..problem };
        let body = serde_json::to_vec(&named).unwrap_or_default();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(body);
        response.extensions_mut().insert(kept);
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Runs `answer` to its end: a panic becomes 500 `internal`, logged, and more than `limit` becomes 504 `timeout`.
pub async fn bounded(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    let mut answer = pin!(AssertUnwindSafe(answer).catch_unwind());
    // What is answered on the spot needs no timer, and that is most of what is asked.
    let at_once = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
    let ended = match at_once {
        Poll::Ready(ended) => Ok(ended),
        Poll::Pending => tokio::time::timeout(limit, answer).await,
    };
    match ended {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            tracing::error!(panic = text, "a request's handler panicked");
            Problem::new(Code::Internal, "the failure was logged under this request id").into_response()
        }
        Err(_) => {
            let text = format!("no answer within {} ms; what was asked may still happen", limit.as_millis());
            Problem::new(Code::Timeout, text).into_response()
        }
    }
}

#[derive(Clone)]
struct Guard {
    service: &'static str,
    keyring: Keyring,
    env: Env,
    timeout: Duration,
}

/// `router` for a service that runs by itself: nobody comes in without a signed envelope, except to ask how it is.
pub fn guarded(
    service: &'static str,
    router: Router,
    keyring: Keyring,
    env: &Env,
    timeout: Duration,
) -> Router {
    let guard = Guard { service, keyring, env: env.clone(), timeout };
    router.layer(middleware::from_fn_with_state(guard, admit))
}

async fn admit(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let is_sealed = request.headers().contains_key(envelope::CLAIMS_HEADER);
    let (context, request) = if !is_sealed && is_open(request.uri().path()) {
        (Context::new(&guard.env), request)
    } else {
        match open(&guard, request).await {
            Ok(opened) => opened,
            Err(problem) => return name_request(problem.into_response(), &Context::new(&guard.env)),
        }
    };
    let mut request = request;
    request.extensions_mut().insert(context.clone());
    let left = context.deadline.map_or(guard.timeout, |at| clock::since(guard.env.now(), at));
    name_request(bounded(left.min(guard.timeout), next.run(request)).await, &context)
}

fn is_open(path: &str) -> bool {
    path == OPEN_PATH || standing::PATHS.contains(&path)
}

/// The envelope covers the body, so the body is read before anything is believed.
async fn open(guard: &Guard, request: Request) -> Result<(Context, Request), Problem> {
    let (parts, body) = request.into_parts();
    let body = tokio::time::timeout(guard.timeout, extract::read(Request::new(body))).await;
    let body = body.map_err(|_| Problem::new(Code::Timeout, "the body did not come in time"))??;
    let context = envelope::open(&guard.keyring, &guard.env, guard.service, &parts, &body);
    let context = context.map_err(|error: EnvelopeError| {
        tracing::warn!(%error, service = guard.service, "refused a call");
        Problem::new(Code::Unauthenticated, error.to_string())
    })?;
    Ok((context, Request::from_parts(parts, Body::from(body))))
}

//! Connections: let in by the door, answered, and ended in an orderly way.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::authority::Caller;
use super::door::{Door, Terms};

/// The most connections at once; more wait in the system's queue. The API server keeps a few, a node asks one by one.
const CONNECTIONS_MAX: usize = 256;
/// How long a caller may take to agree on TLS.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long a connection may take to send a request's head, idle time between requests included; and how long when nobody
/// knows whose it is, so that whoever opens many does not keep the API server out.
const HEAD_MAX: Duration = Duration::from_secs(75);
const STRANGERS_HEAD_MAX: Duration = Duration::from_secs(5);
/// How long requests in flight may go on after the end was announced.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Answers with `router` on `listener` until `stop`, behind `door` or, without one, in the clear and to everybody.
pub(super) async fn serve(
    listener: TcpListener,
    door: Option<Arc<Door>>,
    router: Router,
    stop: CancellationToken,
) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let Some((permit, accepted)) = stop.run_until_cancelled(accepted).await else { break };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: others will close.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (door, router, watcher) = (door.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            greet(stream, door, router, watcher).await;
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time and are cut off");
    }
}

async fn greet(stream: TcpStream, door: Option<Arc<Door>>, router: Router, watcher: Watcher) {
    stream.set_nodelay(true).ok();
    let Some(door) = door else { return talk(stream, Caller::Known, None, router, watcher).await };
    let terms = door.terms().await;
    let acceptor = TlsAcceptor::from(Arc::clone(&terms.config));
    match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let caller = terms.caller(stream.get_ref().1);
            talk(stream, caller, Some(Agreed { door, terms }), router, watcher).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a caller was not let in"),
        Err(_) => tracing::debug!("a caller did not agree on TLS in time"),
    }
}

/// On which terms a connection was made, and where the newest are.
#[derive(Clone)]
struct Agreed {
    door: Arc<Door>,
    terms: Arc<Terms>,
}

impl Agreed {
    async fn is_outdated(&self) -> bool {
        !Arc::ptr_eq(&self.terms, &self.door.terms().await)
    }
}

/// Answers what comes over `stream` until it ends, `watcher` says so, or what was `agreed` is no longer so: then the caller
/// has to come in anew. A connection that breaks is its caller's affair.
async fn talk<S>(stream: S, caller: Caller, agreed: Option<Agreed>, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let patience = if caller == Caller::Known { HEAD_MAX } else { STRANGERS_HEAD_MAX };
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(caller);
        let (answered, agreed) = (router.clone().oneshot(request), agreed.clone());
        async move {
            let mut response = answered.await?;
            if let Some(agreed) = agreed
                && agreed.is_outdated().await
            {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .serve_connection(TokioIo::new(stream), service);
    watcher.watch(connection).await.ok();
}

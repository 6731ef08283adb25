//! The doors: one for everybody, and one for the shop beside it, which is really shut while the provider refuses.
//!
//! At the public door the switchboard must stay within reach, so a refusal there can only be a connection that is cut.
//! Whoever is cut off cannot know whether the request arrived. Behind the shop's own door nobody listens meanwhile, as
//! behind that of a provider that is down: a connection is refused, and proves that nothing happened.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use super::faults::Fault;
use super::{Sandbox, answer};

const DRAIN: Duration = Duration::from_secs(5);
const BACKLOG: u32 = 1024;

/// Serves whoever comes to `listener` until `stop`; then lets go of those who hang on a fault, and ends what is under
/// way. When `shut` comes first, every connection is cut.
async fn accept(
    listener: &TcpListener,
    sandbox: &Arc<Sandbox>,
    stop: &CancellationToken,
    shut: &CancellationToken,
) {
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(60));
    let open = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the sandbox provider could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
            () = shut.cancelled() => return,
        };
        stream.set_nodelay(true).ok();
        let sandbox = Arc::clone(sandbox);
        let service = service_fn(move |request| answer(Arc::clone(&sandbox), request));
        let connection = open.watch(server.serve_connection(TokioIo::new(stream), service));
        let shut = shut.clone();
        tokio::spawn(async move {
            tokio::select! {
                // The client went away, or was cut off on purpose.
                ended = connection => drop(ended),
                () = shut.cancelled() => {}
            }
        });
    }
    // Whoever hangs on a fault is let go.
    sandbox.faults.set(Fault::default());
    tokio::time::timeout(DRAIN, open.shutdown()).await.ok();
}

/// The public door.
pub(super) async fn keep_open(listener: TcpListener, sandbox: Arc<Sandbox>, stop: CancellationToken) {
    accept(&listener, &sandbox, &stop, &CancellationToken::new()).await;
}

/// The shop's own door: a port that is ours also while nobody listens there.
pub(super) struct OwnDoor {
    /// Bound and silent: keeps the port while the listener is away.
    reserve: TcpSocket,
    listener: TcpListener,
    address: SocketAddr,
}

impl OwnDoor {
    /// A door on `port` beside `public`; 0 takes a free one.
    pub(super) fn beside(public: SocketAddr, port: u16) -> std::io::Result<Self> {
        let reserve = socket(SocketAddr::new(public.ip(), port))?;
        let address = reserve.local_addr()?;
        let listener = socket(address)?.listen(BACKLOG)?;
        Ok(Self { reserve, listener, address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Open while the provider does not refuse, until `stop`.
    pub(super) async fn keep(self, sandbox: Arc<Sandbox>, stop: CancellationToken) {
        let Self { reserve, listener, address } = self;
        let mut listener = Some(listener);
        let mut turned = sandbox.faults.turns();
        while !stop.is_cancelled() {
            if sandbox.faults.is_shut() {
                listener = None;
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = turned.changed() => {}
                }
                continue;
            }
            let open = match listener.take().map_or_else(|| socket(address)?.listen(BACKLOG), Ok) {
                Ok(open) => open,
                Err(error) => {
                    tracing::warn!(%error, "the sandbox provider could not open its door, will try again");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let shut = CancellationToken::new();
            let shutting = async {
                while !sandbox.faults.is_shut() && turned.changed().await.is_ok() {}
                shut.cancel();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = accept(&open, &sandbox, &stop, &shut) => {}
                () = shutting => {}
            }
        }
        drop(reserve);
    }
}

/// A socket that shares its port with another one of ours, and with nobody else.
fn socket(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

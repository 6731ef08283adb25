//! Forwarded ports over WebSockets in the words of Kubernetes: two channels for a port, one for data and one for what went
//! wrong. A pod's ports lead through its door.

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::server::no;
use super::sockets::{self, BINARY, CLOSE};
use super::{Fake, Kept};

const PROTOCOL: &str = "v4.channel.k8s.io";

/// What a pod's ports lead to.
#[derive(Clone, Debug)]
pub(in crate::cluster) enum Door {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// The node cannot connect, and says this.
    Closed(&'static str),
}

impl Fake {
    /// From now on the ports of `pod` lead there.
    pub(in crate::cluster) fn door(&self, pod: &str, door: Door) {
        self.lock().doors.insert(pod.to_owned(), door);
    }

    /// Breaks the ways to `pod` off, without a word.
    pub(in crate::cluster) fn cut(&self, pod: &str) {
        self.lock().ways.retain(|(of, _)| of != pod);
    }

    /// The pods that ways were asked to, in order.
    pub(in crate::cluster) fn ways(&self) -> Vec<String> {
        self.lock().asked_ways.clone()
    }
}

/// Opens a way to a port of `pod`. It lasts until one of its ends has enough, or it is cut.
pub(super) fn forward(kept: &mut Kept, pod: &str, mut request: Request) -> Response {
    kept.asked_ways.push(pod.to_owned());
    let Some(door) = kept.doors.get(pod).cloned() else {
        return no(404, "NotFound", &format!("pods \"{pod}\" not found"));
    };
    let query = request.uri().query().unwrap_or_default();
    let port: u16 = query.rsplit_once("ports=").and_then(|(_, port)| port.parse().ok()).expect("a port");
    let text = |name: header::HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    assert!(text(header::SEC_WEBSOCKET_PROTOCOL).contains(PROTOCOL));
    let accept = sockets::accept(&text(header::SEC_WEBSOCKET_KEY));
    let upgrading = hyper::upgrade::on(&mut request);
    let (open, cut) = oneshot::channel::<()>();
    kept.ways.push((pod.to_owned(), open));
    tokio::spawn(async move {
        let Ok(upgraded) = upgrading.await else { return };
        tokio::select! {
            _ = carry(TokioIo::new(upgraded), door, port) => {}
            _ = cut => {}
        }
    });
    let headers = [
        (header::UPGRADE, "websocket"),
        (header::CONNECTION, "Upgrade"),
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
        (header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

async fn carry(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    door: Door,
    port: u16,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = split(socket);
    for channel in [0, 1] {
        let [low, high] = port.to_le_bytes();
        sockets::write(&mut to_client, BINARY, &[channel, low, high]).await?;
    }
    // Reading a frame must not be given up in its middle.
    let (frames, mut received) = mpsc::channel(1);
    let mut reading = JoinSet::new();
    reading.spawn(async move {
        while let Ok(frame) = sockets::read(&mut from_client).await {
            if frames.send(frame).await.is_err() {
                return;
            }
        }
    });
    let (mut from_pod, mut to_pod): (Box<dyn AsyncRead + Unpin + Send>, Box<dyn AsyncWrite + Unpin + Send>) =
        match door {
            Door::Closed(why) => {
                sockets::write(&mut to_client, BINARY, &[&[1], why.as_bytes()].concat()).await?;
                return close(&mut to_client, &mut received).await;
            }
            Door::Tcp(address) => {
                let (read, write) = tokio::net::TcpStream::connect(address).await?.into_split();
                (Box::new(read), Box::new(write))
            }
            Door::Unix(path) => {
                let (read, write) = tokio::net::UnixStream::connect(path).await?.into_split();
                (Box::new(read), Box::new(write))
            }
        };
    let mut buffer = vec![0; 32 * 1024];
    loop {
        tokio::select! {
            frame = received.recv() => match frame {
                Some((BINARY, payload)) if payload.first() == Some(&0) => to_pod.write_all(&payload[1..]).await?,
                Some((CLOSE, payload)) => {
                    to_pod.shutdown().await?;
                    sockets::write(&mut to_client, CLOSE, &payload).await?;
                    break;
                }
                Some(_) => {}
                None => break,
            },
            read = from_pod.read(&mut buffer) => match read? {
                0 => return close(&mut to_client, &mut received).await,
                length => sockets::write(&mut to_client, BINARY, &[&[0], &buffer[..length]].concat()).await?,
            },
        }
    }
    Ok(())
}

/// Says that no more comes, and takes what the client still sends: a connection that is closed over unread bytes is reset,
/// and the client may lose what it was told last.
async fn close(
    to_client: &mut (impl AsyncWrite + Unpin),
    received: &mut mpsc::Receiver<(u8, Vec<u8>)>,
) -> std::io::Result<()> {
    sockets::write(to_client, CLOSE, &[]).await?;
    while received.recv().await.is_some() {}
    Ok(())
}

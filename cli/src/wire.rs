//! HTTP/1.1 over one kept connection: as little as a loopback client and a load driver need.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// How long to wait for a connection on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether `host`, in brackets or without, is this machine.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A connection to one address.
#[derive(Debug)]
pub struct Connection {
    authority: String,
    sender: SendRequest<Full<Bytes>>,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body, whole.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON; null when it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Connection {
    /// Connects to the host of `url` (`http://host:port`).
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        let authority = authority(url)?;
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect(&authority))
            .await
            .map_err(|_| unreachable(&authority, anyhow::anyhow!("no answer within 2 s")))?
            .map_err(|error| unreachable(&authority, error.into()))?;
        stream.set_nodelay(true).ok();
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .with_context(|| format!("could not speak HTTP with {authority}"))?;
        // The connection ends with its sender; what went wrong on it comes back from `send`.
        tokio::spawn(connection);
        Ok(Self { authority, sender })
    }

    /// Sends a request and reads the answer whole.
    ///
    /// # Errors
    /// When the connection breaks before the answer is whole.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> anyhow::Result<Reply> {
        let bytes = body.map(|body| Bytes::from(body.to_string()));
        self.send_bytes(method, path, headers, bytes).await
    }

    /// Sends a request whose JSON body is already in bytes.
    ///
    /// # Errors
    /// When the connection breaks before the answer is whole.
    pub async fn send_bytes(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Bytes>,
    ) -> anyhow::Result<Reply> {
        let mut request = Request::builder().method(&method).uri(path).header("host", &self.authority);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request =
            request.body(Full::new(body.unwrap_or_default())).context("could not build a request")?;
        let tried = || format!("could not {method} {path} on {}", self.authority);
        self.sender.ready().await.with_context(tried)?;
        let response = self.sender.send_request(request).await.with_context(tried)?;
        let status = response.status();
        let body = response.into_body().collect().await.with_context(tried)?.to_bytes();
        Ok(Reply { status, body })
    }
}

/// One request on a connection of its own, given up after `timeout`.
///
/// # Errors
/// When nobody answers in time.
pub async fn get(url: &str, path: &str, timeout: Duration) -> anyhow::Result<Reply> {
    let whole = async { Connection::open(url).await?.send(Method::GET, path, &[], None).await };
    tokio::time::timeout(timeout, whole)
        .await
        .map_err(|_| unreachable(url, anyhow::anyhow!("no answer within {} ms", timeout.as_millis())))?
}

fn authority(url: &str) -> anyhow::Result<String> {
    let rest = url.strip_prefix("http://").with_context(|| format!("`{url}` is not an http address"))?;
    Ok(rest.split('/').next().unwrap_or(rest).to_owned())
}

fn unreachable(address: &str, error: anyhow::Error) -> anyhow::Error {
    Failure::new(Exit::Unreachable, "E-UNREACHABLE", format!("nobody answers on {address}"))
        .object(address)
        .hint("`shopctl status` tells whether a shop is running")
        .because(error)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Diagnosis;

    #[tokio::test]
    async fn nobody_at_home_is_unreachable_and_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = get(&format!("http://{address}"), "/readyz", CONNECT_TIMEOUT).await.unwrap_err();
        let found = Diagnosis::of(&error);
        assert_eq!(found.exit, Exit::Unreachable);
        assert_eq!(found.object, Some(address.to_string()));
    }

    #[test]
    fn the_authority_is_what_stands_between_the_scheme_and_the_path() {
        assert_eq!(authority("http://127.0.0.1:8080/v1/x").unwrap(), "127.0.0.1:8080");
        assert!(authority("127.0.0.1:8080").is_err());
    }
}

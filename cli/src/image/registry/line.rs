//! The wire to a registry: HTTP/1.1, TLS by rustls, bodies that come from a file.

use std::fs::File;
use std::io::{self, Read, Take};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::failure::{Exit, Failure};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take once everything was sent, and how long sending may stand still.
const ANSWER: Duration = Duration::from_secs(60);
/// The most of an answer that is read; a registry has little to say.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// How much of a file is read at once.
const PIECE_BYTES: usize = 256 << 10;

/// What was sent so far, by all bodies: shown to a person, and how one sees that nothing moves any more.
pub type Sent = Arc<AtomicU64>;

/// A client.
#[derive(Clone)]
pub struct Line {
    client: Client<HttpsConnector<HttpConnector>, Payload>,
    sent: Sent,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl Answer {
    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The connection was not made: nobody listens, the name is unknown.
    #[error("{0}")]
    Connect(String),
    /// Somebody listens, but is not who they should be, or speaks no TLS.
    #[error("{0}")]
    Tls(String),
    /// The connection broke, or nothing moved any more.
    #[error("{0}")]
    Broken(String),
}

impl Line {
    /// A client that trusts Mozilla's roots, and those of this file beside them.
    ///
    /// # Errors
    /// When the file holds no certificates.
    pub fn new(more_roots: Option<&Path>) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
            roots.add(certificate.clone())?;
        }
        if let Some(path) = more_roots {
            add_roots(&mut roots, path).map_err(|error| {
                let message = format!("could not read certificates from {}", path.display());
                Failure::new(Exit::Usage, "E-CA-FILE", message)
                    .object(path.display())
                    .hint("--ca-file names a PEM file with the certificate of the registry's authority")
                    .because(error)
            })?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, sent: Sent::default() })
    }

    /// The count of what bodies have sent.
    #[must_use]
    pub fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Sends a request and reads the answer whole. It may take as long as something moves.
    ///
    /// # Errors
    /// When the connection is not made, or breaks.
    pub async fn send(&self, mut request: Request<Payload>) -> Result<Answer, LineError> {
        request.body_mut().sent = Some(Arc::clone(&self.sent));
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| named(&error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| LineError::Broken(error.to_string()))?.to_bytes();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        tokio::pin!(exchange);
        loop {
            let before = self.sent.load(Ordering::Relaxed);
            match tokio::time::timeout(ANSWER, &mut exchange).await {
                Ok(answer) => return answer,
                Err(_) if self.sent.load(Ordering::Relaxed) != before => {}
                Err(_) => {
                    return Err(LineError::Broken(format!("nothing moved for {} s", ANSWER.as_secs())));
                }
            }
        }
    }
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> anyhow::Result<()> {
    let mut found = 0;
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
        found += 1;
    }
    anyhow::ensure!(found > 0, "there is no certificate in it");
    Ok(())
}

fn named(error: &hyper_util::client::legacy::Error) -> LineError {
    let mut causes = Vec::new();
    let mut source = std::error::Error::source(error);
    let mut is_tls = false;
    while let Some(cause) = source {
        is_tls |= is_of_tls(cause);
        causes.push(cause.to_string());
        source = cause.source();
    }
    causes.dedup();
    let text = if causes.is_empty() { error.to_string() } else { causes.join(": ") };
    match (is_tls, error.is_connect()) {
        (true, _) => LineError::Tls(text),
        (false, true) => LineError::Connect(text),
        (false, false) => LineError::Broken(text),
    }
}

/// Errors of rustls are handed up inside those of io, which do not show them as their source.
fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_of_tls(inner))
}

/// The body of a request.
#[derive(Debug, Default)]
pub struct Payload {
    kind: Kind,
    sent: Option<Sent>,
}

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Nothing,
    Bytes(Bytes),
    File(Take<File>),
}

impl Payload {
    /// These bytes.
    #[must_use]
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Bytes(bytes.into()), sent: None }
    }

    /// What is left of this part of a file.
    #[must_use]
    pub fn file(part: Take<File>) -> Self {
        Self { kind: Kind::File(part), sent: None }
    }

    fn left(&self) -> u64 {
        match &self.kind {
            Kind::Nothing => 0,
            Kind::Bytes(bytes) => bytes.len() as u64,
            Kind::File(part) => part.limit(),
        }
    }

    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let piece = match &mut self.kind {
            Kind::Nothing => return Ok(None),
            Kind::Bytes(bytes) => std::mem::take(bytes),
            Kind::File(part) => {
                let length = usize::try_from(part.limit()).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
                let mut piece = vec![0; length];
                part.read_exact(&mut piece)?;
                piece.into()
            }
        };
        if let Some(sent) = &self.sent {
            sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Ok((!piece.is_empty()).then_some(piece))
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    /// Reads in place: the file is on this machine, and nothing else runs on this thread that could not wait for it.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(self.next().map(|piece| piece.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom, Write as _};

    use super::*;

    #[tokio::test]
    async fn a_part_of_a_file_is_sent_whole_and_counted() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..PIECE_BYTES * 2 + 5).map(|at| u8::try_from(at % 251).unwrap()).collect();
        file.write_all(&bytes).unwrap();
        file.seek(SeekFrom::Start(3)).unwrap();
        let mut payload = Payload::file(file.take(bytes.len() as u64 - 3));
        let sent = Sent::default();
        payload.sent = Some(Arc::clone(&sent));
        assert_eq!(payload.size_hint().exact(), Some(bytes.len() as u64 - 3));
        let whole = payload.collect().await.unwrap().to_bytes();
        assert_eq!(whole, bytes[3..]);
        assert_eq!(sent.load(Ordering::Relaxed), whole.len() as u64);
    }

    #[test]
    fn a_file_without_certificates_is_no_authority() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Line::new(Some(file.path())).is_err());
        assert!(Line::new(Some(Path::new("/nowhere.pem"))).is_err());
        assert!(Line::new(None).is_ok());
    }
}

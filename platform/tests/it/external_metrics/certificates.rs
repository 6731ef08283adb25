//! Authorities and what they vouch for, made for one test, and callers who show it.

use std::path::Path;
use std::sync::Arc;

use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use platform::app::CertificateFiles;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// An authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

/// A certificate and its key.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// One for a server at 127.0.0.1.
    pub(super) fn server(&self) -> Identity {
        self.identity(
            CertificateParams::new(["127.0.0.1".to_owned()]).unwrap(),
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// One for a caller of this name.
    pub(super) fn caller(&self, name: &str) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        self.identity(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn identity(&self, mut params: CertificateParams, purpose: ExtendedKeyUsagePurpose) -> Identity {
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

impl Identity {
    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect::<Result<_, _>>().unwrap()
    }

    pub(super) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }

    /// Writes it as `tls.crt` and `tls.key`.
    pub(super) fn write(&self, folder: &Path) -> CertificateFiles {
        let files = CertificateFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        std::fs::write(&files.certificate, &self.certificate).unwrap();
        std::fs::write(&files.key, &self.key).unwrap();
        files
    }
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    /// What the server showed.
    pub(super) shown: CertificateDer<'static>,
}

/// A connection on which one can ask more than once.
pub(super) struct Line {
    sender: SendRequest<Empty<bytes::Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
    host: String,
    shown: CertificateDer<'static>,
}

impl Line {
    /// A connection to the server at `url`. An error is what became of it.
    pub(super) async fn open(config: ClientConfig, url: &str) -> Result<Self, std::io::Error> {
        let host = url.strip_prefix("https://").unwrap_or_else(|| panic!("{url} is not TLS")).to_owned();
        let stream = TcpStream::connect(&host).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
        let made = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(std::io::Error::other)?;
        Ok(Self { sender, connection: tokio::spawn(connection), host, shown })
    }

    pub(super) async fn ask(&mut self, path: &str) -> Result<Answer, std::io::Error> {
        let request = Request::get(path).header("host", &self.host).body(Empty::new()).unwrap();
        let response = self.sender.send_request(request).await.map_err(std::io::Error::other)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Answer { status, body, shown: self.shown.clone() })
    }

    /// Ends it in an orderly way.
    async fn end(self) -> Result<(), std::io::Error> {
        drop(self.sender);
        self.connection.await.unwrap().map_err(std::io::Error::other)
    }
}

/// Trusts `roots` and shows `identity`.
pub(super) fn config(roots: &str, identity: Option<&Identity>) -> ClientConfig {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from_pem_slice(roots.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store);
    match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain(), identity.private_key()).unwrap(),
        None => builder.with_no_client_auth(),
    }
}

/// Asks once, over a connection of its own.
pub(super) async fn ask_with(config: ClientConfig, url: &str, path: &str) -> Result<Answer, std::io::Error> {
    let mut line = Line::open(config, url).await?;
    let answer = line.ask(path).await?;
    line.end().await?;
    Ok(answer)
}

/// Asks once the server at `url`, which `roots` must vouch for, showing `identity`.
pub(super) async fn ask(
    url: &str,
    path: &str,
    roots: &str,
    identity: Option<&Identity>,
) -> Result<Answer, std::io::Error> {
    ask_with(config(roots, identity), url, path).await
}

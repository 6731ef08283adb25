//! TLS as it is spoken here: with the certificate and the callers' authority as they are now. The files are looked at as
//! connections come, once a second at most; what cannot be used is told in the log, and what was there before stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::authority::{Authority, Caller};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, with those between it and its authority behind it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Where the certificate comes from.
pub(super) enum Certificate {
    Files(CertificateFiles),
    /// It was made at the start and ends with the process: nobody can check it.
    Made {
        certificate: Vec<u8>,
        key: Vec<u8>,
    },
}

/// Whom the door opens to.
pub(super) enum Trust {
    Anybody,
    File {
        authority: PathBuf,
        names: Vec<String>,
    },
    /// Whomever the newest authority that was told vouches for; nobody before one was.
    Told(watch::Receiver<Option<Authority>>),
}

/// The way in.
pub(super) struct Door {
    certificate: Certificate,
    trust: Trust,
    state: Mutex<State>,
}

struct State {
    looked_at: Instant,
    /// What was there at the last look, whether it could be used or not.
    seen: Material,
    terms: Arc<Terms>,
}

/// What TLS is made of.
#[derive(PartialEq)]
struct Material {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authority: Option<Authority>,
}

/// On which terms a connection is made.
pub(super) struct Terms {
    pub(super) config: Arc<ServerConfig>,
    authority: Option<Authority>,
    is_open_to_anybody: bool,
}

impl Certificate {
    /// A new one that vouches for itself.
    pub(super) fn make() -> Result<Self, String> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .map_err(|error| error.to_string())?;
        let key = made.signing_key.serialize_pem().into_bytes();
        Ok(Self::Made { certificate: made.cert.pem().into_bytes(), key })
    }
}

impl Door {
    /// A door with what is there now.
    ///
    /// # Errors
    /// When that cannot be read or used.
    pub(super) async fn new(certificate: Certificate, trust: Trust) -> Result<Self, String> {
        let seen = material(&certificate, &trust).await?;
        let terms = Arc::new(Terms::new(&seen, &trust)?);
        Ok(Self { certificate, trust, state: Mutex::new(State { looked_at: Instant::now(), seen, terms }) })
    }

    /// The terms for a connection that comes now.
    pub(super) async fn terms(&self) -> Arc<Terms> {
        let mut state = self.state.lock().await;
        if state.looked_at.elapsed() >= LOOK_EVERY {
            state.looked_at = Instant::now();
            match material(&self.certificate, &self.trust).await {
                Ok(found) => self.renew(&mut state, found),
                Err(error) => {
                    tracing::warn!(error, "the files for TLS cannot be read, and the old ones stay")
                }
            }
        }
        Arc::clone(&state.terms)
    }

    fn renew(&self, state: &mut State, found: Material) {
        if found == state.seen {
            return;
        }
        match Terms::new(&found, &self.trust) {
            Ok(terms) => {
                state.terms = Arc::new(terms);
                tracing::info!("TLS goes on with a new certificate or authority");
            }
            Err(error) => {
                tracing::warn!(error, "the new files for TLS cannot be used, and the old ones stay")
            }
        }
        state.seen = found;
    }
}

async fn material(certificate: &Certificate, trust: &Trust) -> Result<Material, String> {
    let (certificate, key) = match certificate {
        Certificate::Files(files) => (read(&files.certificate).await?, read(&files.key).await?),
        Certificate::Made { certificate, key } => (certificate.clone(), key.clone()),
    };
    let authority = match trust {
        Trust::Anybody => None,
        Trust::File { authority, names } => {
            Some(Authority { pem: read(authority).await?, names: names.clone() })
        }
        Trust::Told(told) => told.borrow().clone(),
    };
    Ok(Material { certificate, key, authority })
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    tokio::fs::read(path).await.map_err(|error| format!("cannot read `{}`: {error}", path.display()))
}

impl Terms {
    fn new(material: &Material, trust: &Trust) -> Result<Self, String> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&material.certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the certificate: {error}"))?;
        if chain.is_empty() {
            return Err("the certificate: there is none in its file".to_owned());
        }
        let key =
            PrivateKeyDer::from_pem_slice(&material.key).map_err(|error| format!("the key: {error}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &material.authority {
            Some(authority) => {
                let verifier = authority.verifier(&provider);
                builder.with_client_cert_verifier(verifier.map_err(|why| format!("the authority: {why}"))?)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| format!("the certificate and its key: {error}"))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            authority: material.authority.clone(),
            is_open_to_anybody: matches!(trust, Trust::Anybody),
        })
    }

    /// Who is at the other end of `connection`, whose handshake is done.
    pub(super) fn caller(&self, connection: &ServerConnection) -> Caller {
        match &self.authority {
            _ if self.is_open_to_anybody => Caller::Known,
            Some(authority) => authority.caller(connection.peer_certificates()),
            None => Caller::Unknown,
        }
    }
}

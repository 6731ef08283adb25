//! Whose certificates are trusted, and which of them are the API server's.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;

/// The attribute of a subject that is its name.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Somebody who may ask.
    Known,
    /// Somebody who did not show that they may.
    Unknown,
}

/// An authority that vouches for callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// Its certificates.
    pub(super) pem: Vec<u8>,
    /// The names of those who may ask, of all that it vouches for; all of them when there is none.
    pub(super) names: Vec<String>,
}

impl Authority {
    /// Lets those in whom it vouches for, and those who show nothing: they may ask how the process is.
    pub(super) fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let roots = Arc::new(roots(&self.pem)?);
        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| error.to_string())
    }

    /// Who showed `certificates`, which were found to be in order.
    pub(super) fn caller(&self, certificates: Option<&[CertificateDer<'_>]>) -> Caller {
        let Some(certificate) = certificates.and_then(<[_]>::first) else { return Caller::Unknown };
        let is_named = || {
            let name = common_name(certificate);
            self.names.iter().any(|known| Some(known) == name.as_ref())
        };
        if self.names.is_empty() || is_named() { Caller::Known } else { Caller::Unknown }
    }
}

/// The certificates in `pem`, of which there is one at least.
pub(super) fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(roots) }
}

/// The subject's name; the last one where there are several, as Go reads it.
fn common_name(certificate: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let parts = certificate.tbs_certificate.subject.0.iter().flat_map(|part| part.0.iter());
    let name = parts.rev().find(|part| part.oid == COMMON_NAME)?;
    String::from_utf8(name.value.value().to_vec()).ok()
}

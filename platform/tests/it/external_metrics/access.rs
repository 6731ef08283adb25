//! What is spoken on the listener, and what is refused at the start.

use std::sync::Arc;

use axum::http::StatusCode;
use platform::app::{self, Callers, CertificateFiles, MetricsError, MetricsOptions, ShopConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::certificates::{Authority, ask_with};
use super::shop::{FakeProcess, options, peers, started, values_of};

/// Trusts whoever answers, as the API server does for `insecureSkipTLSVerify`.
#[derive(Debug)]
struct Anyone(CryptoProvider);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn without_files_it_makes_a_certificate_and_still_knows_its_callers() {
    let folder = tempfile::tempdir().unwrap();
    let callers = Authority::new("callers");
    let authority = folder.path().join("authority.crt");
    std::fs::write(&authority, &callers.pem).unwrap();
    let process = FakeProcess::telling("saga_inflight 3\n").await;
    let role = started(MetricsOptions {
        callers: Callers::File { authority, names: vec!["proxy".to_owned()] },
        ..options(peers(&[("order", &[&process.url])]).await)
    });
    let role = role.await;
    let provider = ring::default_provider();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)));
    let sagas = values_of("saga_inflight", "");
    let nobody = builder.clone().with_no_client_auth();
    let answer = ask_with(nobody, &role.url, &sagas).await.unwrap();
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let proxy = callers.caller("proxy");
    let proxy = builder.with_client_auth_cert(proxy.chain(), proxy.private_key()).unwrap();
    let answer = ask_with(proxy, &role.url, &sagas).await.unwrap();
    assert_eq!((answer.status, &answer.body["items"][0]["value"]), (StatusCode::OK, &"3".into()));
    role.drain().await;
}

#[tokio::test]
async fn what_is_in_the_clear_is_on_this_machine_only() {
    let role = started(options(peers(&[]).await)).await;
    assert!(role.url.starts_with("http://127.0.0.1:"), "{}", role.url);
    let everywhere = MetricsOptions { listen: "0.0.0.0:0".parse().unwrap(), ..options(peers(&[]).await) };
    let role = started(everywhere).await;
    assert!(role.url.starts_with("https://0.0.0.0:"), "{}", role.url);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("servers");
    let files = authority.server().write(folder.path());
    let other = folder.path().join("other.key");
    std::fs::write(&other, authority.server().key).unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let nowhere = folder.path().join("nowhere");
    let callers = |file: &std::path::Path| Callers::File { authority: file.to_owned(), names: Vec::new() };
    for (certificate, callers, words) in [
        (CertificateFiles { key: other, ..files.clone() }, Callers::Anybody, "the certificate and its key"),
        (CertificateFiles { key: empty.clone(), ..files.clone() }, Callers::Anybody, "the key"),
        (
            CertificateFiles { certificate: empty.clone(), ..files.clone() },
            Callers::Anybody,
            "the certificate",
        ),
        (CertificateFiles { certificate: nowhere.clone(), ..files.clone() }, Callers::Anybody, "nowhere"),
        (files.clone(), callers(&empty), "the authority"),
        (files.clone(), callers(&nowhere), "nowhere"),
    ] {
        let options = MetricsOptions { certificate: Some(certificate), callers, ..options(peers(&[]).await) };
        let config = ShopConfig::local(folder.path().to_owned());
        match app::serve_metrics(&config, options).await {
            Err(MetricsError::Tls(why)) => assert!(why.contains(words), "{why} without `{words}`"),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it runs without `{words}`"),
        }
    }
}

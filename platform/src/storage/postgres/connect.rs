//! From a URL to a connection: which host accepts writes, whether to speak TLS, and how the session is set up.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Connect;
use futures_util::future::BoxFuture;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::storage::StorageError;

const CONNECT: Duration = Duration::from_secs(2);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// Reads, and transactions of several statements: only `BEGIN READ WRITE` may write.
    Guarded,
    /// Transactions that are one call.
    Calls,
}

/// For [`Session::Guarded`].
const GUARD: &str = "SET default_transaction_read_only = on";
/// For every session. A transaction that hangs, or waits for one that does, gives its locks back.
const SESSION: &str = "SET statement_timeout = '5s';
SET lock_timeout = '4s';
SET idle_in_transaction_session_timeout = '10s';
SET TIME ZONE 'UTC'";

/// How connections are made.
pub(super) struct Connector {
    session: Session,
    tls: Option<MakeRustlsConnect>,
}

impl Connect for Connector {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        let config = config.clone();
        Box::pin(async move {
            let (client, task) = match &self.tls {
                Some(tls) => {
                    let (client, connection) = config.connect(tls.clone()).await?;
                    (client, tokio::spawn(drive(connection)))
                }
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    (client, tokio::spawn(drive(connection)))
                }
            };
            client.batch_execute(SESSION).await?;
            if self.session == Session::Guarded {
                client.batch_execute(GUARD).await?;
            }
            Ok((client, task))
        })
    }
}

async fn drive(connection: impl Future<Output = Result<(), Error>>) {
    if let Err(error) = connection.await {
        tracing::warn!(%error, "a connection to PostgreSQL broke");
    }
}

/// Understands `sslmode` (`disable`, or `require` and `verify-full`, which both verify here) and `sslrootcert`
/// beside what the driver knows. No message repeats the URL: it may hold a password.
pub(super) fn from_url(url: &str, session: Session) -> Result<(Config, Connector), StorageError> {
    let invalid = |why: &str| StorageError::Invalid(format!("database URL: {why}"));
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let mut secure = false;
    let mut roots = None;
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", "disable")) => secure = false,
            Some(("sslmode", "require" | "verify-ca" | "verify-full")) => secure = true,
            Some(("sslmode", _)) => {
                return Err(invalid("sslmode promises nothing: say `disable` or `verify-full`"));
            }
            Some(("sslrootcert", path)) => roots = Some(path.replace("%2F", "/").replace("%2f", "/")),
            _ => rest.push(pair),
        }
    }
    let joined = if rest.is_empty() { address.to_owned() } else { format!("{address}?{}", rest.join("&")) };
    let mut config: Config =
        joined.parse().map_err(|_| invalid("cannot be read: postgresql://user@host:5432/name"))?;
    let patience = config.get_connect_timeout().copied().unwrap_or(CONNECT);
    config
        .ssl_mode(if secure { SslMode::Require } else { SslMode::Disable })
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .keepalives_idle(Duration::from_secs(10))
        .connect_timeout(patience);
    if config.get_application_name().is_none() {
        config.application_name("shopd");
    }
    let tls = secure.then(|| verifying(roots.as_deref())).transpose()?;
    Ok((config, Connector { session, tls }))
}

fn verifying(roots: Option<&str>) -> Result<MakeRustlsConnect, StorageError> {
    let invalid =
        |why: &dyn std::fmt::Display| StorageError::Invalid(format!("database URL: sslrootcert: {why}"));
    let mut store = RootCertStore::empty();
    match roots {
        Some(path) => {
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| invalid(&error))? {
                let certificate = certificate.map_err(|error| invalid(&error))?;
                store.add(certificate).map_err(|error| invalid(&error))?;
            }
        }
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(&error))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_spoken_when_asked_for_and_never_half() {
        let mode = |url: &str| {
            from_url(url, Session::Calls)
                .map(|(config, connector)| (config.get_ssl_mode(), connector.tls.is_some()))
        };
        assert_eq!(mode("postgresql://shop@db/shop"), Ok((SslMode::Disable, false)));
        assert_eq!(mode("postgresql://shop@db/shop?sslmode=verify-full"), Ok((SslMode::Require, true)));
        let refused = mode("postgresql://shop:secret@db/shop?sslmode=prefer").unwrap_err().to_string();
        assert!(refused.contains("verify-full") && !refused.contains("secret"), "{refused}");
    }

    #[test]
    fn several_hosts_are_tried_for_the_one_that_accepts_writes() {
        let (config, _) =
            from_url("postgresql://shop@a:5432,b:5433/shop?connect_timeout=1", Session::Guarded).unwrap();
        assert_eq!(config.get_hosts().len(), 2);
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    }
}

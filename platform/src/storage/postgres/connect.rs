//! From a URL to a connection: which host accepts writes, whether to speak TLS, and how the session is set up.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Connect;
use futures_util::future::BoxFuture;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::closes;
use super::route::Route;
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

impl Session {
    /// What a connection is asked before it is used again: `off` while its server may be written. A guarded session
    /// calls itself read-only, so there the server is asked instead.
    pub(super) fn question(self) -> &'static str {
        match self {
            Self::Guarded => "SHOW in_hot_standby",
            Self::Calls => "SHOW transaction_read_only",
        }
    }
}

/// How connections are made.
pub(super) struct Connector {
    session: Session,
    tls: Option<MakeRustlsConnect>,
    /// One for each host.
    hosts: Vec<Config>,
    route: Arc<Route>,
}

type Connected = (Client, JoinHandle<()>);

impl Connect for Connector {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<Connected, Error>> {
        Box::pin(async move {
            loop {
                if !self.route.is_lost() {
                    match self.look().await {
                        Err(error) if self.route.was_found() && may_pass(&error) => {}
                        outcome => return outcome,
                    }
                }
                let turn = self.route.turn().await;
                if !self.route.is_lost() {
                    // Somebody found it meanwhile, and nobody need queue any more.
                    drop(turn);
                    continue;
                }
                loop {
                    match self.look().await {
                        // Whoever waits gives up by itself.
                        Err(error) if may_pass(&error) && !self.route.lasts() => {
                            tokio::time::sleep(self.route.habits.look_every).await;
                        }
                        outcome => return outcome,
                    }
                }
            }
        })
    }
}

impl Connector {
    /// Connects to the host that may be written, and notes whether there is one.
    async fn look(&self) -> Result<Connected, Error> {
        let outcome = self.first_that_may_be_written().await;
        match &outcome {
            Err(error) if may_pass(error) => self.route.note_lost(&told(error)),
            _ => {}
        }
        outcome
    }

    /// Tries the hosts one after the other, the last writer first. One that hangs takes its share of the time and not
    /// that of the others.
    async fn first_that_may_be_written(&self) -> Result<Connected, Error> {
        let (count, first) = (self.hosts.len(), self.route.writer());
        let share = CONNECT / u32::try_from(count.max(1)).unwrap_or(1);
        let mut last = None;
        for step in 0..count {
            let at = (first + step) % count;
            let connecting = self.connect_to(&self.hosts[at]);
            let outcome = if step + 1 < count {
                match timeout(share, connecting).await {
                    Ok(outcome) => outcome,
                    Err(_) => continue,
                }
            } else {
                connecting.await
            };
            match outcome {
                Ok(connected) => {
                    self.route.note_found(at);
                    return Ok(connected);
                }
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(error),
            // Without hosts the driver says what is missing.
            None => self.connect_to(&Config::new()).await,
        }
    }

    async fn connect_to(&self, host: &Config) -> Result<Connected, Error> {
        let (client, task) = match &self.tls {
            Some(tls) => {
                let (client, connection) = host.connect(tls.clone()).await?;
                (client, tokio::spawn(drive(connection)))
            }
            None => {
                let (client, connection) = host.connect(NoTls).await?;
                (client, tokio::spawn(drive(connection)))
            }
        };
        let set_up = match self.session {
            Session::Guarded => format!("{SESSION}; {GUARD}"),
            Session::Calls => SESSION.to_owned(),
        };
        client.batch_execute(&set_up).await?;
        Ok((client, task))
    }
}

/// Whether the next try may end otherwise: nobody listens, somebody starts or stops, or may only be read. A server that
/// says anything else is there, and so is a wrong password.
fn may_pass(error: &Error) -> bool {
    error.code().is_none_or(closes)
}

/// The error with its cause, which the driver leaves out.
fn told(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

async fn drive(connection: impl Future<Output = Result<(), Error>>) {
    if let Err(error) = connection.await {
        tracing::warn!(%error, "a connection to PostgreSQL broke");
    }
}

/// Understands `sslmode` (`disable`, or `require` and `verify-full`, which both verify here) and `sslrootcert`
/// beside what the driver knows. No message repeats the URL: it may hold a password.
pub(super) fn from_url(
    url: &str,
    session: Session,
    route: &Arc<Route>,
) -> Result<(Config, Connector), StorageError> {
    let invalid = |why: &str| StorageError::Invalid(format!("database URL: {why}"));
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let mut secure = false;
    let mut roots = None;
    let mut writers = TargetSessionAttrs::ReadWrite;
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", "disable")) => secure = false,
            Some(("sslmode", "require" | "verify-ca" | "verify-full")) => secure = true,
            Some(("sslmode", _)) => {
                return Err(invalid("sslmode promises nothing: say `disable` or `verify-full`"));
            }
            Some(("sslrootcert", path)) => roots = Some(path.replace("%2F", "/").replace("%2f", "/")),
            // For whoever only reads, and names the one server to read from.
            Some(("target_session_attrs", "any")) => writers = TargetSessionAttrs::Any,
            _ => rest.push(pair),
        }
    }
    let joined = if rest.is_empty() { address.to_owned() } else { format!("{address}?{}", rest.join("&")) };
    let mut config: Config =
        joined.parse().map_err(|_| invalid("cannot be read: postgresql://user@host:5432/name"))?;
    let patience = config.get_connect_timeout().copied().unwrap_or(CONNECT);
    config
        .ssl_mode(if secure { SslMode::Require } else { SslMode::Disable })
        .target_session_attrs(writers)
        .keepalives_idle(Duration::from_secs(10))
        .connect_timeout(patience);
    if config.get_application_name().is_none() {
        config.application_name("shopd");
    }
    let tls = secure.then(|| verifying(roots.as_deref())).transpose()?;
    let hosts = (0..config.get_hosts().len().max(config.get_hostaddrs().len())).map(|at| only(&config, at));
    let hosts = hosts.collect();
    Ok((config, Connector { session, tls, hosts, route: Arc::clone(route) }))
}

/// `config` with the host at `at` alone.
fn only(config: &Config, at: usize) -> Config {
    let mut one = Config::new();
    match config.get_hosts().get(at) {
        Some(Host::Tcp(name)) => {
            one.host(name);
        }
        Some(Host::Unix(path)) => {
            one.host_path(path);
        }
        None => {}
    }
    if let Some(address) = config.get_hostaddrs().get(at) {
        one.hostaddr(*address);
    }
    if let Some(port) = config.get_ports().get(at).or(config.get_ports().first()) {
        one.port(*port);
    }
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(dbname) = config.get_dbname() {
        one.dbname(dbname);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    if let Some(patience) = config.get_connect_timeout() {
        one.connect_timeout(*patience);
    }
    if let Some(patience) = config.get_tcp_user_timeout() {
        one.tcp_user_timeout(*patience);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts());
    one
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
    use crate::storage::postgres::route::Habits;

    fn read(url: &str, session: Session) -> Result<(Config, Connector), StorageError> {
        from_url(url, session, &Arc::new(Route::new(Habits::default())))
    }

    #[test]
    fn tls_is_spoken_when_asked_for_and_never_half() {
        let mode = |url: &str| {
            read(url, Session::Calls)
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
            read("postgresql://shop@a:5432,b:5433/shop?connect_timeout=1", Session::Guarded).unwrap();
        assert_eq!(config.get_hosts().len(), 2);
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    }

    #[test]
    fn each_host_keeps_all_that_the_url_says_of_it() {
        let url = "postgresql://shop:secret@a:5432,%2Fsockets:5433/shop?connect_timeout=1&options=-cgeqo%3Doff\
                   &keepalives_idle=7&tcp_user_timeout=9&keepalives_interval=3&keepalives_retries=2\
                   &channel_binding=disable&sslmode=disable";
        let (whole, connector) = read(url, Session::Calls).unwrap();
        let mut rebuilt = connector.hosts[0].clone();
        rebuilt.host_path("/sockets").port(5433);
        assert_eq!(rebuilt, whole);
        assert_eq!(connector.hosts[1].get_hosts(), [Host::Unix("/sockets".into())]);
        assert_eq!(connector.hosts[1].get_ports(), [5433]);
    }
}

//! Some of the shop's roles in this process, the others elsewhere.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::assemble::{self, Assembly, Ground};
use super::running::{RunningShop, Stops};
use super::start::{self, StartError};
use crate::config::ShopConfig;
use crate::http::Addresses;
use crate::http::server::{self, ServerLimits};
use crate::secrets::{SECRETS_FILE, Secrets};
use crate::services::{SERVICES, Service};

/// The port of the gateway when it runs by itself.
pub(super) const GATEWAY_PORT: u16 = 8080;
/// The port of the sandbox provider when it runs by itself.
const FAKEPAY_PORT: u16 = 8090;

/// What a process can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The gateway and every service; not the sandbox provider.
    All,
    /// The public face.
    Gateway,
    /// The sandbox provider.
    Fakepay,
    /// The service of this name.
    Service(&'static str),
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "gateway" => Ok(Self::Gateway),
            "fakepay" => Ok(Self::Fakepay),
            name => SERVICES
                .iter()
                .find(|service| service.manifest.name == name)
                .map(|service| Self::Service(service.manifest.name))
                .ok_or_else(|| {
                    let names = SERVICES.iter().map(|service| service.manifest.name).collect::<Vec<_>>();
                    format!(
                        "there is no role `{name}`; there are all, gateway, fakepay, {}",
                        names.join(", ")
                    )
                }),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Gateway => "gateway",
            Self::Fakepay => "fakepay",
            Self::Service(name) => name,
        })
    }
}

impl Role {
    /// The roles of the services, in the order of their list.
    pub fn services() -> impl Iterator<Item = Self> {
        SERVICES.iter().map(|service| Self::Service(service.manifest.name))
    }

    fn port(self) -> u16 {
        match self {
            Self::All | Self::Gateway => GATEWAY_PORT,
            Self::Fakepay => FAKEPAY_PORT,
            Self::Service(name) => SERVICES
                .iter()
                .find(|service| service.manifest.name == name)
                .map_or(0, |service| service.manifest.port),
        }
    }

    fn runs(self, service: &Service) -> bool {
        self == Self::All || self == Self::Service(service.manifest.name)
    }
}

/// What a process that starts does about the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tables {
    /// It brings them up to date.
    #[default]
    Update,
    /// It waits until somebody else has. Data that a newer binary added to are good enough: versions run side by side.
    Await,
}

/// Which roles, and where everybody is.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// What this process is.
    pub roles: Vec<Role>,
    /// Where to listen: with one role exactly there, with several on this host at each role's own port (0 stays 0).
    pub listen: Option<SocketAddr>,
    /// Where services that are elsewhere answer; a service that is not named is on this machine at its own port. Whoever
    /// keeps a clone may change the list of a service at any time.
    pub peers: HashMap<String, Addresses>,
    /// Where fakepay sends its webhooks.
    pub webhook_url: Option<String>,
    /// The port of fakepay's door for the shop beside it, where nobody listens while it refuses; 0 takes a free one.
    pub own_port: u16,
    /// The secrets; in the data folder by default.
    pub secrets_file: Option<PathBuf>,
    /// What to do about the tables when a service is among the roles.
    pub tables: Tables,
    /// How long to wait for a database that does not answer, and for tables that somebody else brings up to date.
    pub patience: Duration,
    /// A listener for the gateway's metrics, which are then no longer on the public one.
    pub metrics_listen: Option<SocketAddr>,
}

impl ServeOptions {
    fn address(&self, role: Role) -> SocketAddr {
        let host = self.listen.map_or(std::net::IpAddr::from([127, 0, 0, 1]), |listen| listen.ip());
        match self.listen {
            Some(listen) if self.roles.len() == 1 || listen.port() == 0 => listen,
            _ => SocketAddr::new(host, role.port()),
        }
    }
}

/// Runs `options.roles` in this process, on tables that are up to date when a service is among them.
pub async fn serve(mut config: ShopConfig, options: ServeOptions) -> Result<RunningShop, StartError> {
    let env = config.env();
    start::make_data_folder(&config)?;
    let telemetry = start::begin_telemetry(&config, &env)?;
    let secrets_file = options.secrets_file.clone().unwrap_or_else(|| config.data_dir.join(SECRETS_FILE));
    let secrets = Arc::new(Secrets::load_or_generate(&secrets_file, &env)?);
    let mut shop = RunningShop::new(telemetry.clone());

    if options.roles.contains(&Role::Fakepay) {
        let address = options.address(Role::Fakepay);
        let webhooks = options.webhook_url.clone();
        let fakepay =
            start::start_sandbox(&config, &secrets, &env, address, options.own_port, webhooks).await?;
        shop.addresses.push(("fakepay".to_owned(), fakepay.url()));
        shop.fakepay = Some(fakepay);
    }
    let local: Vec<Service> = SERVICES
        .iter()
        .filter(|service| options.roles.iter().any(|role| role.runs(service)))
        .copied()
        .collect();
    let is_public = options.roles.iter().any(|role| matches!(role, Role::All | Role::Gateway));
    if local.is_empty() && !is_public {
        return Ok(shop);
    }

    let mut public = None;
    if is_public {
        let role = if options.roles.contains(&Role::All) { Role::All } else { Role::Gateway };
        let (listener, url) = start::listen(options.address(role)).await?;
        config.notification.shop_url.get_or_insert_with(|| url.clone());
        shop.addresses.push((role.to_string(), url));
        public = Some(listener);
    }

    let mut metrics = None;
    if let Some(address) = options.metrics_listen.filter(|_| is_public) {
        config.metrics_public = false;
        let (listener, url) = start::listen(address).await?;
        shop.addresses.push(("metrics".to_owned(), url));
        metrics = Some(listener);
    }

    let db = start::open(&config, options.patience).await?;
    match options.tables {
        _ if local.is_empty() => {}
        Tables::Update => {
            db.migrate(&assemble::migrations(), &env).await?;
        }
        Tables::Await => start::until_migrated(&db, options.patience).await?,
    }
    let provider_url = match config.payment.provider_url.as_str() {
        "" => format!("http://127.0.0.1:{FAKEPAY_PORT}"),
        url => url.to_owned(),
    };
    let control_url = config.payment.control_url.clone().unwrap_or_else(|| provider_url.clone());
    let keyring = secrets.keyring()?;
    let ground = Ground {
        env: env.clone(),
        config,
        secrets,
        db,
        telemetry,
        provider_url: provider_url.as_str().into(),
        control_url: control_url.as_str().into(),
    };
    let mut assembly = Assembly::new(ground, local, &options.peers).map_err(StartError::Mount)?;
    assembly.mount().await.map_err(StartError::Mount)?;

    let stop = Stops::default();
    let mut listeners = JoinSet::new();
    if let Some(listener) = public {
        let face = assembly.public_face();
        let app = move |request, from: SocketAddr| face.clone().answer(request, Some(from.ip()));
        listeners.spawn(server::serve_with(listener, app, ServerLimits::default(), stop.listeners.clone()));
    }
    if let Some(listener) = metrics {
        let figures = assembly.capabilities.telemetry.metrics_route();
        listeners.spawn(server::serve(listener, figures, ServerLimits::default(), stop.listeners.clone()));
    }
    for (name, router) in assembly.alone() {
        if !options.roles.contains(&Role::Service(name)) {
            continue;
        }
        let (listener, url) = start::listen(options.address(Role::Service(name))).await?;
        shop.addresses.push((name.to_owned(), url));
        let patience = assembly.capabilities.config.gateway.timeout;
        let edge = server::guarded(name, router, keyring.clone(), &env, patience);
        listeners.spawn(server::serve(listener, edge, ServerLimits::default(), stop.listeners.clone()));
    }
    let (jobs, relays) = assembly.start_jobs(&stop);
    assembly.capabilities.telemetry.health().set_up(true);
    for (role, url) in &shop.addresses {
        tracing::info!(role, url, "listening");
    }
    Ok(shop.with(assembly.capabilities, stop, listeners, jobs, relays))
}

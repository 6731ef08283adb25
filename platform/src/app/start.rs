//! Starting: the steps in order, each said aloud, each with its own failure.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::assemble::{self, Assembly, Ground};
use super::running::{RunningShop, Stops};
use crate::capabilities::Capabilities;
use crate::config::ShopConfig;
use crate::http::server::{self, ServerLimits};
use crate::sandbox::fakepay::{Fakepay, FakepayConfig, FakepayError, FakepaySecrets};
use crate::secrets::{SECRETS_FILE, Secrets, SecretsError};
use crate::services::{SERVICES, order, product, user};
use crate::storage::{Db, StorageError};
use crate::telemetry::{LogsError, Telemetry};
use crate::vocabulary::Env;

/// How often a database that does not answer yet, or whose tables are not up to date yet, is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Why the shop did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody listens there already.
    #[error("port {port} is taken")]
    PortTaken {
        /// The port that was asked for.
        port: u16,
        /// The nearest higher port that is free, if one is.
        free: Option<u16>,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The data folder cannot be made or written.
    #[error("cannot use the data folder `{}`: {source}", path.display())]
    DataFolder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The secrets cannot be had.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The storage does not answer, or its data is newer than this binary ([`StorageError::Schema`]).
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The sandbox provider did not start.
    #[error(transparent)]
    Sandbox(#[from] FakepayError),
    /// A service could not be mounted, seeded or read: a bug, or data that is damaged.
    #[error("cannot mount the services: {0:#}")]
    Mount(anyhow::Error),
}

/// What `up` does beyond the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpOptions {
    /// Give the admin a new password.
    pub reset_admin: bool,
}

/// Where a start stands. Reported before each step begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Opening the storage engine.
    Opening,
    /// Bringing the tables to the newest version.
    Migrating,
    /// So many migrations ran.
    Migrated {
        /// How many.
        ran: usize,
    },
    /// Starting the sandbox provider.
    Sandbox,
    /// Mounting the services.
    Mounting,
    /// Filling an empty shop with the demo catalogue.
    Seeding,
    /// The listener takes requests.
    Listening {
        /// The address in use.
        url: String,
    },
}

/// The admin's sign-in, in the clear: shown once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The e-mail.
    pub email: String,
    /// The generated password.
    pub password: String,
}

/// How the sandbox provider is reached.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Its API.
    pub url: String,
    /// The key that its API takes.
    pub api_key: String,
    /// What its webhooks are signed with.
    pub webhook_secret: String,
    /// Opens its control routes.
    pub control_token: String,
}

impl Sandbox {
    pub(super) fn at(url: &str, secrets: &Secrets) -> Self {
        Self {
            url: url.to_owned(),
            api_key: secrets.provider_api_key.expose().to_owned(),
            webhook_secret: secrets.provider_webhook.expose().to_owned(),
            control_token: secrets.provider_control.expose().to_owned(),
        }
    }
}

/// Opens the engine that `config` names and brings every service's tables to the newest version. Answers how many
/// migrations ran. An engine that does not answer is asked again for as long as `patience` lasts.
pub async fn migrate(config: &ShopConfig, patience: Duration) -> Result<usize, StartError> {
    make_data_folder(config)?;
    let db = open(config, patience).await?;
    let ran = db.migrate(&assemble::migrations(), &Env::system()).await?;
    db.close().await;
    Ok(ran)
}

/// Runs the whole shop in this process: every service, the gateway, the pages and, unless the configuration names
/// another provider, the sandbox.
pub async fn up(
    mut config: ShopConfig,
    options: UpOptions,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<RunningShop, StartError> {
    let env = config.env();
    make_data_folder(&config)?;
    let telemetry = begin_telemetry(&config, &env)?;
    let secrets = Arc::new(Secrets::load_or_generate(&config.data_dir.join(SECRETS_FILE), &env)?);
    let (listener, url) = listen(config.listen).await?;
    config.notification.shop_url.get_or_insert_with(|| url.clone());

    progress(Progress::Opening);
    let db = Db::open(&config.engine).await?;
    progress(Progress::Migrating);
    let ran = db.migrate(&assemble::migrations(), &env).await?;
    progress(Progress::Migrated { ran });

    let mut shop = RunningShop::new(telemetry.clone());
    let mut provider_url = config.payment.provider_url.clone();
    let mut control_url = provider_url.clone();
    if provider_url.is_empty() {
        progress(Progress::Sandbox);
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let fakepay = start_sandbox(&config, &secrets, &env, anywhere, 0, Some(webhook_url(&url))).await?;
        provider_url = fakepay.own_url();
        control_url = fakepay.url();
        shop.sandbox = Some(Sandbox::at(&fakepay.url(), &secrets));
        shop.fakepay = Some(fakepay);
    }

    progress(Progress::Mounting);
    let ground = Ground {
        env,
        config,
        secrets,
        db,
        telemetry,
        provider_url: provider_url.as_str().into(),
        control_url: control_url.as_str().into(),
    };
    let mut assembly =
        Assembly::new(ground, SERVICES.to_vec(), &HashMap::new()).map_err(StartError::Mount)?;
    assembly.mount().await.map_err(StartError::Mount)?;
    let capabilities = assembly.capabilities.clone();

    progress(Progress::Seeding);
    (shop.admin, shop.promotions) = furnish(&capabilities, options.reset_admin, None).await?;

    let stop = Stops::default();
    let mut listeners = JoinSet::new();
    let face = assembly.public_face();
    let app = move |request, from: SocketAddr| face.clone().answer(request, Some(from.ip()));
    listeners.spawn(server::serve_with(listener, app, ServerLimits::default(), stop.listeners.clone()));
    let (jobs, relays) = assembly.start_jobs(&stop);
    capabilities.telemetry.health().set_up(true);
    tracing::info!(url, "the shop is up");
    shop.addresses.push(("gateway".to_owned(), url.clone()));
    progress(Progress::Listening { url });
    Ok(shop.with(capabilities, stop, listeners, jobs, relays))
}

/// Opens the engine that `config` names. One that does not answer yet is asked again for as long as `patience` lasts.
pub(super) async fn open(config: &ShopConfig, patience: Duration) -> Result<Db, StorageError> {
    let began = Instant::now();
    loop {
        match Db::open(&config.engine).await {
            Err(StorageError::Unavailable(why)) if began.elapsed() < patience => {
                tracing::warn!(why, "the database does not answer yet");
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            }
            opened => return opened,
        }
    }
}

/// Waits until somebody else has brought the tables up to date, for as long as `patience` lasts.
pub(super) async fn until_migrated(db: &Db, patience: Duration) -> Result<(), StorageError> {
    let began = Instant::now();
    loop {
        let told = match db.missing(&assemble::migrations()).await {
            Ok(0) => return Ok(()),
            Ok(missing) => StorageError::Schema(format!(
                "{missing} migrations have not run, and this process was told to run none: `shopd prepare` does"
            )),
            Err(error @ StorageError::Unavailable(_)) => error,
            Err(error) => return Err(error),
        };
        if began.elapsed() >= patience {
            return Err(told);
        }
        tracing::info!(why = %told, "waiting for the tables");
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
}

/// Fills an empty shop: an admin with `password` or a generated one, and the demo when it is wanted. Answers the new
/// admin and the demo's codes.
pub(super) async fn furnish(
    capabilities: &Capabilities,
    reset_admin: bool,
    password: Option<String>,
) -> Result<(Option<Admin>, Vec<(String, String)>), StartError> {
    let admin = seed_admin(capabilities, reset_admin, password).await.map_err(StartError::Mount)?;
    if !capabilities.config.demo_data {
        return Ok((admin, Vec::new()));
    }
    product::seed_catalogue(capabilities).await?;
    order::seed(capabilities).await?;
    Ok((admin, promotions()))
}

/// An admin where there is none, or a new password when `reset` asks for one. Only its hash is kept.
async fn seed_admin(
    capabilities: &Capabilities,
    reset: bool,
    password: Option<String>,
) -> anyhow::Result<Option<Admin>> {
    let password = password.unwrap_or_else(|| user::generate_password(&capabilities.env));
    if reset {
        user::reset_admin(capabilities, &password).await?;
    } else if !user::seed_admin(capabilities, &password).await? {
        return Ok(None);
    }
    Ok(Some(Admin { email: user::ADMIN_EMAIL.to_owned(), password }))
}

/// The demo's codes and what each gives.
fn promotions() -> Vec<(String, String)> {
    order::DEMO_PROMOTIONS.iter().map(|(code, gives)| ((*code).to_owned(), (*gives).to_owned())).collect()
}

/// Where the provider's webhooks go, at the shop that answers at `url`.
#[must_use]
pub fn webhook_url(url: &str) -> String {
    format!("{url}/v1/payments/webhooks/stripe")
}

pub(super) async fn start_sandbox(
    config: &ShopConfig,
    secrets: &Secrets,
    env: &Env,
    listen: SocketAddr,
    own_port: u16,
    webhook_url: Option<String>,
) -> Result<Fakepay, StartError> {
    let config = FakepayConfig {
        listen,
        own_port,
        data_dir: config.data_dir.join("fakepay"),
        webhook_url,
        secrets: FakepaySecrets::from(secrets),
    };
    Ok(Fakepay::start(config, env.clone()).await?)
}

/// Telemetry that logs as configured. A process logs to one place: a second shop in it (in tests) joins the first's.
pub(super) fn begin_telemetry(config: &ShopConfig, env: &Env) -> Result<Telemetry, StartError> {
    let telemetry = Telemetry::with_env(env);
    let wanted = &config.telemetry;
    match telemetry.logs().begin(env, wanted.log_level, wanted.log_file.clone(), wanted.process.clone()) {
        Ok(()) | Err(LogsError::Begun(_)) => Ok(telemetry),
        Err(LogsError::File { path, source }) => Err(StartError::DataFolder { path, source }),
    }
}

pub(super) fn make_data_folder(config: &ShopConfig) -> Result<(), StartError> {
    let failed = |source| StartError::DataFolder { path: config.data_dir.clone(), source };
    std::fs::create_dir_all(&config.data_dir).map_err(failed)
}

/// Listens at `address`; answers the base URL in use.
pub(super) async fn listen(address: SocketAddr) -> Result<(TcpListener, String), StartError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            StartError::PortTaken { port: address.port(), free: free_neighbour(address) }
        }
        _ => StartError::Listen { address, source },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, format!("http://{bound}")))
}

/// The nearest port above `address`'s that nobody listens on.
fn free_neighbour(address: SocketAddr) -> Option<u16> {
    let above = address.port().saturating_add(1)..=address.port().saturating_add(100);
    above.into_iter().find(|port| std::net::TcpListener::bind((address.ip(), *port)).is_ok())
}

//! Runs the shop in this process, from the lock on its data to the last lease given back.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use platform::app::{self, EngineConfig, RunningShop, ShopConfig, StartError, StorageError, UpOptions};
use platform::vocabulary::{Env, Fate};
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use super::lock::{Holder, Lock};
use super::port;
use super::signals::{Signals, Stop};
use super::welcome::{Admin, Fakepay, Promotion, Welcome};
use crate::config::{Engine, Limits, Settings};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Printer, Progress, Report};

/// Connections that a shop holds to PostgreSQL: more only make it wait on itself.
const CONNECTIONS_MAX: usize = 16;
/// The variable that says at which point the process kills itself; for tests and drills.
const FATE: &str = "SHOPCTL_FATE";
/// How often the living line is drawn.
const LINE_EVERY: Duration = Duration::from_millis(500);

/// What a start is asked for beyond its settings.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The environment's name.
    pub environment: String,
    /// Give the admin a new password.
    pub reset_admin: bool,
}

/// Runs the shop until it is told to stop.
///
/// # Errors
/// When its data is held by another, or it does not start.
pub fn serve(settings: &Settings, wish: &Wish, env: &Env, printer: &Printer) -> anyhow::Result<Exit> {
    let lock = Lock::acquire(&settings.data_dir)?;
    let mut config = shop_config(settings, wish);
    config.fate = fate(settings)?;
    let holder = Holder::new(settings.engine, config.telemetry.log_file.clone(), env);
    lock.publish(&holder).context("could not write into the data folder")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(live(config, wish, &lock, holder, settings, printer));
    // What a second signal leaves running is not waited for.
    runtime.shutdown_background();
    exit
}

async fn live(
    config: ShopConfig,
    wish: &Wish,
    lock: &Lock,
    mut holder: Holder,
    settings: &Settings,
    printer: &Printer,
) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let mut progress = Progress::new(printer);
    let Some(shop) = start(config, wish, settings, &mut signals, &mut progress).await? else {
        return Ok(signals.exit());
    };
    progress.clear();
    holder.url = Some(shop.url().to_owned());
    holder.fakepay_url = shop.sandbox.as_ref().map(|sandbox| sandbox.url.clone());
    lock.publish(&holder).context("could not write into the data folder")?;
    tracing::info!(url = shop.url(), pid = holder.pid, "the shop is ready");
    tell_ready(&welcome(&shop, settings), printer)?;
    let stop = watch(&shop, &mut signals, &mut progress).await;
    progress.clear();
    drain(shop, stop, &mut signals, printer).await
}

/// Starts the shop, showing how far it is. `None` when a signal came first: what was begun is taken up by the
/// next start.
async fn start(
    config: ShopConfig,
    wish: &Wish,
    settings: &Settings,
    signals: &mut Signals,
    progress: &mut Progress<'_>,
) -> anyhow::Result<Option<RunningShop>> {
    let (sender, mut steps) = unbounded_channel();
    let options = UpOptions { reset_admin: wish.reset_admin };
    // Nobody listens any more when the start was given up.
    let starting = app::up(config, options, move |step| drop(sender.send(step)));
    tokio::pin!(starting);
    loop {
        tokio::select! {
            biased;
            Some(step) = steps.recv() => show(&step, progress),
            started = &mut starting => {
                return started.map(Some).map_err(|error| explained(error, &settings.data_dir));
            }
            _ = signals.next() => return Ok(None),
        }
    }
}

pub(in crate::targets) fn show(step: &app::Progress, progress: &mut Progress<'_>) {
    let phase = match step {
        app::Progress::Opening => "opening the data",
        app::Progress::Migrating => "bringing the tables up to date",
        app::Progress::Migrated { ran: 0 } => "the tables are up to date",
        app::Progress::Migrated { ran } => return progress.step(&format!("{ran} migrations ran"), 0, 0),
        app::Progress::Sandbox => "starting the payment sandbox",
        app::Progress::Mounting => "starting the services",
        app::Progress::Seeding => "making sure that the shop is furnished",
        app::Progress::Listening { url } => return progress.step(&format!("listening on {url}"), 0, 0),
    };
    progress.step(phase, 0, 0);
}

fn welcome(shop: &RunningShop, settings: &Settings) -> Welcome {
    Welcome {
        url: shop.url().to_owned(),
        pid: std::process::id(),
        data_dir: settings.data_dir.display().to_string(),
        admin: shop
            .admin
            .as_ref()
            .map(|admin| Admin { email: admin.email.clone(), password: admin.password.clone() }),
        fakepay: shop.sandbox.as_ref().map(|sandbox| Fakepay {
            url: sandbox.url.clone(),
            api_key: sandbox.api_key.clone(),
            webhook_secret: sandbox.webhook_secret.clone(),
            control_token: sandbox.control_token.clone(),
        }),
        promotions: shop
            .promotions
            .iter()
            .map(|(code, about)| Promotion { code: code.clone(), about: about.clone() })
            .collect(),
        processes: Vec::new(),
    }
}

pub(in crate::targets) fn tell_ready(welcome: &Welcome, printer: &Printer) -> anyhow::Result<()> {
    if printer.format() == Format::Ndjson {
        printer.event(&welcome.to_event())?;
        return Ok(());
    }
    let report = Report::new(welcome.to_data(), welcome.body())
        .last_line("ready; Ctrl-C stops it, and nothing is lost");
    printer.report(&report)?;
    Ok(())
}

/// Draws the living line until the first signal.
async fn watch(shop: &RunningShop, signals: &mut Signals, progress: &mut Progress<'_>) -> Stop {
    let mut tick = tokio::time::interval(LINE_EVERY);
    loop {
        tokio::select! {
            stop = signals.next() => return stop,
            _ = tick.tick(), if progress.is_animated() => {
                let now = shop.vitals();
                progress.line(&format!(
                    "in the last minute {} orders, {} requests, {} errors · sagas in flight {}",
                    now.orders_per_minute, now.requests_per_minute, now.errors_per_minute, now.sagas_in_flight
                ));
            }
        }
    }
}

/// Ends in order, or at once when a second signal comes.
async fn drain(
    shop: RunningShop,
    stop: Stop,
    signals: &mut Signals,
    printer: &Printer,
) -> anyhow::Result<Exit> {
    tracing::info!(signal = stop.name(), "the shop stops");
    printer.event(&json!({"event": "stopping", "signal": stop.name()}))?;
    printer.say("stopping: what is in flight is finished first; once more stops at once");
    tokio::select! {
        is_clean = shop.drain() => {
            printer.event(&json!({"event": "stopped", "clean": is_clean}))?;
            if !is_clean {
                printer.warn("not everything was finished in time; the next start takes it up");
            }
            Ok(stop.exit())
        }
        second = signals.next() => {
            printer.event(&json!({"event": "stopped", "clean": false}))?;
            printer.say("stopped at once; the next start takes up what was in flight");
            Ok(second.exit())
        }
    }
}

/// Where the process kills itself, when a drill or a test asks for that and faults are allowed.
fn fate(settings: &Settings) -> anyhow::Result<Option<Fate>> {
    match std::env::var(FATE) {
        Ok(words) if settings.allow_faults && !words.is_empty() => app::fate(&words)
            .map(Some)
            .with_context(|| format!("could not keep the notes that {FATE} asks for")),
        _ => Ok(None),
    }
}

/// The settings in the words of the platform.
pub(in crate::targets) fn shop_config(settings: &Settings, wish: &Wish) -> ShopConfig {
    let mut config = ShopConfig::local(settings.data_dir.clone());
    config.environment.clone_from(&wish.environment);
    config.listen.set_port(settings.port);
    config.demo_data = settings.demo;
    config.faults_allowed = settings.allow_faults;
    config.gateway.limits = settings.limits != Limits::None;
    if let (Engine::Postgres, Some(url)) = (settings.engine, &settings.database_url) {
        config.engine =
            EngineConfig::Postgres { url: url.reveal().to_owned(), connections_max: CONNECTIONS_MAX };
    }
    config
}

/// Why it did not start, with what to do about it.
pub(in crate::targets) fn explained(error: StartError, data_dir: &Path) -> anyhow::Error {
    let place = data_dir.display().to_string();
    let failure = |exit, code, hint: &str| {
        Failure::new(exit, code, "could not start the shop").object(&place).hint(hint)
    };
    match error {
        StartError::PortTaken { port, .. } => return port::taken(port).into(),
        StartError::Listen { address, source } => port::forbidden(address.port(), source),
        StartError::DataFolder { .. } => failure(
            Exit::Preflight,
            "E-DATA-DIR",
            "make it writable for you, or name another with --data-dir",
        )
        .because(error),
        StartError::Secrets(_) => {
            failure(Exit::Preflight, "E-SECRETS", "restore the file from a backup").because(error)
        }
        StartError::Storage(StorageError::Schema(_)) => {
            failure(Exit::Preflight, "E-DATA-NEWER", "use the shopctl that wrote the data, or a newer one")
                .because(error)
        }
        StartError::Storage(StorageError::Full(_)) => {
            failure(Exit::Preflight, "E-DISK-FULL", "make room on the disk").because(error)
        }
        StartError::Storage(StorageError::Unavailable(_) | StorageError::Unknown(_)) => {
            failure(Exit::Unreachable, "E-DATABASE", "`shopctl doctor` looks whether the database answers")
                .because(error)
        }
        StartError::Storage(_) | StartError::Sandbox(_) | StartError::Mount(_) => {
            failure(Exit::Internal, "E-START", "`shopctl logs` has what led to it").because(error)
        }
    }
    .into()
}

//! One process of a shop in pieces, from the inside.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Lines, Stdin};
use std::time::Duration;

use anyhow::Context as _;
use platform::app::{self, Addresses, EngineConfig, Role, ServeOptions, ShopConfig};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::charter::{Charter, Directory};
use crate::failure::{Exit, Failure};
use crate::output::Printer;
use crate::targets::local::serve::explained;
use crate::targets::local::signals::Signals;

/// How long a piece whose supervisor is gone may finish what it holds. Somebody may be starting the shop anew.
const ALONE_MAX: Duration = Duration::from_secs(3);
/// How long one of several replicas trusts its memory of what the others may have changed.
const SHARED_CACHE_LIFE: Duration = Duration::from_millis(500);

/// Runs the piece that the first line of standard input describes, until it is told to stop or is left alone.
///
/// # Errors
/// When it was not started by a supervisor, or does not start.
pub fn run(printer: &Printer) -> anyhow::Result<Exit> {
    let mut lines = BufReader::new(std::io::stdin()).lines();
    let charter = match lines.next() {
        Some(Ok(line)) => serde_json::from_str::<Charter>(&line).ok(),
        _ => None,
    };
    let charter = charter.ok_or_else(|| {
        Failure::new(Exit::Usage, "E-PIECE", "a piece of a shop is started by `shopctl up --processes` only")
    })?;
    let role: Role = charter.role.parse().map_err(anyhow::Error::msg)?;
    let peers: HashMap<String, Addresses> =
        Role::services().map(|role| (role.to_string(), Addresses::default())).collect();
    let (sender, heard) = unbounded_channel();
    listen_to_supervisor(lines, peers.clone(), sender)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(live(&charter, role, peers, Supervisor { heard, printer }));
    runtime.shutdown_background();
    exit
}

/// A thread of its own hears the supervisor, so that its end is noticed however busy the rest is; a piece that is
/// left alone and does not come to an end is ended.
fn listen_to_supervisor(
    lines: Lines<BufReader<Stdin>>,
    peers: HashMap<String, Addresses>,
    knows: UnboundedSender<u64>,
) -> anyhow::Result<()> {
    let hear = move || {
        for line in lines.map_while(Result::ok) {
            let Ok(directory) = serde_json::from_str::<Directory>(&line) else { continue };
            for (service, addresses) in &peers {
                let urls = directory.peers.get(service).into_iter().flatten();
                addresses.set(urls.map(String::as_str));
            }
            knows.send(directory.version).ok();
        }
        drop(knows);
        std::thread::sleep(ALONE_MAX);
        std::process::exit(Exit::Terminated.code().into());
    };
    std::thread::Builder::new().name("supervisor".to_owned()).spawn(hear).context("no thread to be had")?;
    Ok(())
}

/// The supervisor as the piece hears it.
struct Supervisor<'a> {
    heard: UnboundedReceiver<u64>,
    printer: &'a Printer,
}

impl Supervisor<'_> {
    /// Confirms what it hears, until there is nothing more to hear. May be dropped and asked again.
    async fn is_gone(&mut self) {
        while let Some(version) = self.heard.recv().await {
            self.printer.event(&json!({"event": "knows", "version": version})).ok();
        }
    }
}

async fn live(
    charter: &Charter,
    role: Role,
    peers: HashMap<String, Addresses>,
    mut supervisor: Supervisor<'_>,
) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let options = ServeOptions {
        roles: vec![role],
        listen: Some(charter.listen),
        peers,
        webhook_url: charter.webhook_url.clone(),
        own_port: charter.own_port,
        ..ServeOptions::default()
    };
    let shop = tokio::select! {
        started = app::serve(config(charter), options) => {
            started.map_err(|error| explained(error, &charter.data_dir))?
        }
        stop = signals.next() => return Ok(stop.exit()),
        () = supervisor.is_gone() => return Ok(Exit::Terminated),
    };
    let (pid, own_url) = (std::process::id(), shop.own_provider_url());
    supervisor
        .printer
        .event(&json!({"event": "ready", "pid": pid, "url": shop.url(), "own_url": own_url}))?;
    let exit = tokio::select! {
        stop = signals.next() => stop.exit(),
        () = supervisor.is_gone() => {
            tracing::warn!("the supervisor is gone");
            Exit::Terminated
        }
    };
    tokio::select! {
        _ = shop.drain() => Ok(exit),
        second = signals.next() => Ok(second.exit()),
    }
}

/// The charter in the words of the platform.
fn config(charter: &Charter) -> ShopConfig {
    let mut config = ShopConfig::local(charter.data_dir.clone());
    config.environment.clone_from(&charter.environment);
    config.faults_allowed = charter.allow_faults;
    config.gateway.limits = charter.limits;
    config.payment.provider_url = charter.provider_url.clone().unwrap_or_default();
    config.payment.control_url.clone_from(&charter.control_url);
    config.notification.shop_url.clone_from(&charter.shop_url);
    config.telemetry.process = Some(format!("{}-{}", charter.role, charter.number));
    if charter.has_twins {
        config.product.cache_life = SHARED_CACHE_LIFE;
    }
    if let Some(url) = &charter.database_url {
        config.engine = EngineConfig::Postgres { url: url.clone(), connections_max: charter.connections_max };
    }
    config
}

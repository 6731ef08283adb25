//! Runs the shop's services by themselves: one role per process, or any set of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use platform::app::{self, Role, ServeOptions, StartError};
use platform::config::ShopConfig;
use platform::http::Addresses;
use platform::services::SERVICES;
use platform::storage::{EngineConfig, StorageError};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the shop's services by themselves.
#[derive(Parser)]
#[command(name = "shopd", version, about, disable_help_subcommand = true)]
struct Shopd {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run one or more roles until SIGINT or SIGTERM
    Serve(Serve),
    /// Bring every service's tables to the newest version, and end
    Migrate(Data),
    /// Tell what the services are called, where they listen, which paths are theirs
    Describe {
        /// How to print it
        #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
        output: String,
    },
}

#[derive(Args)]
struct Serve {
    /// gateway, user, product, order, payment, notification, fakepay, or all (which leaves fakepay out)
    #[arg(required = true, value_name = "ROLE", value_parser = parse_role)]
    roles: Vec<Role>,
    /// Where to listen; with several roles each listens on this host at its own port [default: 127.0.0.1 at the role's port]
    #[arg(long, value_name = "ADDR", env = "SHOPD_LISTEN")]
    listen: Option<SocketAddr>,
    /// Where a service that is not among the roles answers, as NAME=URL[,URL…]; may be repeated
    #[arg(long, value_name = "NAME=URL", value_parser = parse_peer)]
    peer: Vec<(String, String)>,
    /// The payment provider's API (a sandbox's, or the real one's)
    #[arg(long, value_name = "URL", env = "SHOPD_PROVIDER_URL")]
    provider_url: Option<String>,
    /// Where fakepay sends its webhooks
    #[arg(long, value_name = "URL", env = "SHOPD_WEBHOOK_URL")]
    webhook_url: Option<String>,
    /// Switch the gateway's rate limits off
    #[arg(long, value_name = "WHICH", value_parser = ["default", "none"], default_value = "default")]
    limits: String,
    #[command(flatten)]
    data: Data,
}

#[derive(Args)]
struct Data {
    /// Where the data, the secrets and the logs live
    #[arg(long, value_name = "DIR", default_value = ".shopctl", env = "SHOPCTL_DATA_DIR")]
    data_dir: PathBuf,
    /// The shop's secrets, shared by all its processes [default: secrets.json in the data folder]
    #[arg(long, value_name = "FILE", env = "SHOPCTL_SECRETS_FILE")]
    secrets_file: Option<PathBuf>,
    /// The storage engine; the address of postgres comes from SHOPCTL_DATABASE_URL or SHOPCTL_DATABASE_URL_FILE
    #[arg(long, default_value = "sqlite", value_parser = ["sqlite", "postgres"], env = "SHOPCTL_ENGINE")]
    engine: String,
}

fn parse_role(text: &str) -> Result<Role, String> {
    text.parse()
}

fn parse_peer(text: &str) -> Result<(String, String), String> {
    let (name, url) =
        text.split_once('=').ok_or("write NAME=URL, for example product=http://127.0.0.1:8082")?;
    let known = SERVICES.iter().any(|service| service.manifest.name == name);
    let names = || SERVICES.iter().map(|service| service.manifest.name).collect::<Vec<_>>().join(", ");
    if known {
        Ok((name.to_owned(), url.to_owned()))
    } else {
        Err(format!("there is no service `{name}`; there are {}", names()))
    }
}

impl Data {
    fn config(&self) -> Result<ShopConfig, String> {
        let mut config = ShopConfig::local(self.data_dir.clone());
        config.telemetry.log_file = None;
        if self.engine == "postgres" {
            config.engine = EngineConfig::Postgres { url: database_url()?, connections_max: 16 };
        }
        Ok(config)
    }
}

/// A secret comes from a file or the environment, never from a flag that `ps` shows.
fn database_url() -> Result<String, String> {
    if let Ok(file) = std::env::var("SHOPCTL_DATABASE_URL_FILE") {
        let text =
            std::fs::read_to_string(&file).map_err(|error| format!("cannot read `{file}`: {error}"))?;
        return Ok(text.trim().to_owned());
    }
    std::env::var("SHOPCTL_DATABASE_URL")
        .map_err(|_| "set SHOPCTL_DATABASE_URL or SHOPCTL_DATABASE_URL_FILE for --engine postgres".to_owned())
}

/// The codes of the common table that this binary can end with.
mod exit {
    pub(crate) const INTERNAL: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const PREFLIGHT: u8 = 4;
    pub(crate) const UNREACHABLE: u8 = 6;
}

fn main() -> ExitCode {
    app::prefer_small_pages();
    app::keep_files_private();
    match Shopd::parse().verb {
        Verb::Describe { output } => describe(&output),
        Verb::Migrate(data) => run(async move {
            let ran = app::migrate(&data.config().map_err(usage)?).await.map_err(failed)?;
            say(&serde_json::json!({"event": "migrated", "ran": ran}));
            Ok(())
        }),
        Verb::Serve(serve) => run(serve_until_stopped(serve)),
    }
}

async fn serve_until_stopped(serve: Serve) -> Result<(), (u8, String)> {
    let mut config = serve.data.config().map_err(usage)?;
    config.gateway.limits = serve.limits != "none";
    config.payment.provider_url = serve.provider_url.unwrap_or_default();
    let options = ServeOptions {
        roles: serve.roles,
        listen: serve.listen,
        peers: serve.peer.iter().map(|(name, urls)| (name.clone(), Addresses::parse(urls))).collect(),
        webhook_url: serve.webhook_url,
        secrets_file: serve.data.secrets_file,
    };
    let shop = app::serve(config, options).await.map_err(failed)?;
    let roles = shop.addresses.iter().map(|(role, url)| serde_json::json!({"role": role, "url": url}));
    let roles = roles.collect::<Vec<_>>();
    say(&serde_json::json!({"event": "ready", "pid": std::process::id(), "roles": roles}));
    app::until_told_to_stop().await;
    shop.drain().await;
    Ok(())
}

fn run(work: impl Future<Output = Result<(), (u8, String)>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(exit::INTERNAL, &format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => fail(code, &message),
    }
}

fn usage(message: String) -> (u8, String) {
    (exit::USAGE, message)
}

fn failed(error: StartError) -> (u8, String) {
    let code = match &error {
        StartError::PortTaken { .. } | StartError::Listen { .. } | StartError::DataFolder { .. } => {
            exit::PREFLIGHT
        }
        StartError::Secrets(_) | StartError::Storage(StorageError::Schema(_)) => exit::PREFLIGHT,
        StartError::Storage(StorageError::Unavailable(_)) => exit::UNREACHABLE,
        StartError::Storage(_) | StartError::Sandbox(_) | StartError::Mount(_) => exit::INTERNAL,
    };
    (code, error.to_string())
}

fn describe(output: &str) -> ExitCode {
    if output == "json" {
        let services = SERVICES.iter().map(|service| service.manifest.describe()).collect::<Vec<_>>();
        say(&serde_json::json!({ "services": services }));
        return ExitCode::SUCCESS;
    }
    for service in SERVICES {
        let manifest = &service.manifest;
        let routes = manifest.routes.iter().map(|route| route.prefix).collect::<Vec<_>>().join(" ");
        line(&format!("{:<14}{:<6}{}\n{:20}{routes}", manifest.name, manifest.port, manifest.about, ""));
    }
    ExitCode::SUCCESS
}

fn say(value: &serde_json::Value) {
    line(&value.to_string());
}

#[expect(clippy::print_stdout, reason = "the one place of this binary that writes its result")]
fn line(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "the one place of this binary that says why it failed")]
fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(code)
}

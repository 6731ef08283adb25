//! Runs the shop's services by themselves: one role per process, or any set of them.

mod buy;
mod data;
mod metrics;
mod serve;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use platform::app::{self, PrepareOptions, StartError};
use platform::services::SERVICES;
use platform::storage::StorageError;

use crate::buy::Buy;
use crate::data::{Data, secret_file};
use crate::serve::Serve;

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
    Serve(Box<Serve>),
    /// Bring every service's tables to the newest version, and end
    Migrate(Data),
    /// Do once what a shop needs before its roles start: tables, an admin, the demo catalogue if asked for; and end
    Prepare(Prepare),
    /// Ask a running process whether it is ready: ends with 0 when it is, and with 1 when not
    Health(Health),
    /// Buy something as a guest and wait until it is paid: a smoke test of a running shop
    Buy(Buy),
    /// Tell what the services are called, where they listen, which paths are theirs
    Describe {
        /// How to print it
        #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
        output: String,
    },
}

#[derive(Args)]
struct Health {
    /// The process; `/readyz` is asked unless a path is given [default: this machine, at the port of SHOPD_LISTEN or 8080]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Where the process was told to listen
    #[arg(long, value_name = "ADDR", env = "SHOPD_LISTEN", hide = true)]
    listen: Option<SocketAddr>,
}

#[derive(Args)]
struct Prepare {
    /// Fill an empty shop with the demo catalogue and its promotions
    #[arg(long, env = "SHOPD_DEMO_DATA", value_parser = clap::builder::FalseyValueParser::new())]
    demo_data: bool,
    /// Give an admin who exists a new password too. It comes from the file that SHOPD_ADMIN_PASSWORD_FILE names;
    /// without one it is made up, and printed once
    #[arg(long)]
    reset_admin: bool,
    #[command(flatten)]
    data: Data,
}

/// How a verb failed: the exit code, and why.
pub(crate) type Failed = (u8, String);

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
            let ran = app::migrate(&data.config().map_err(usage)?, data.patience()).await.map_err(failed)?;
            say(&serde_json::json!({"event": "migrated", "ran": ran}));
            Ok(())
        }),
        Verb::Prepare(prepare) => run(prepared(prepare)),
        Verb::Health(health) => run(async move {
            let url = health.url.unwrap_or_else(|| app::probe::own_address(health.listen));
            app::probe::ask(&url).await.map_err(|message| (exit::INTERNAL, message))
        }),
        Verb::Buy(buy) => run(buy::run(buy)),
        Verb::Serve(serve) => run(serve::until_stopped(*serve)),
    }
}

async fn prepared(prepare: Prepare) -> Result<(), Failed> {
    let mut config = prepare.data.config().map_err(usage)?;
    config.demo_data = prepare.demo_data;
    let admin_password = secret_file("SHOPD_ADMIN_PASSWORD_FILE").map_err(usage)?;
    let is_told = admin_password.is_some();
    let options = PrepareOptions {
        reset_admin: prepare.reset_admin,
        admin_password,
        patience: prepare.data.patience(),
        secrets_file: prepare.data.secrets_file,
        side_by_side: true,
    };
    let prepared = app::prepare(config, options, |_| {}).await.map_err(failed)?;
    let admin = prepared.admin.map(|admin| {
        let password = (!is_told).then_some(admin.password);
        serde_json::json!({"email": admin.email, "password": password})
    });
    say(&serde_json::json!({"event": "prepared", "ran": prepared.ran, "admin": admin}));
    Ok(())
}

fn run(work: impl Future<Output = Result<(), Failed>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(exit::INTERNAL, &format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => fail(code, &message),
    }
}

fn usage(message: String) -> Failed {
    (exit::USAGE, message)
}

fn failed(error: StartError) -> Failed {
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

//! `shopctl up`: starts a shop, shows where it is, and keeps it until it is told to stop.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::duration::Span;
use crate::config::{Engine, Limits, Overrides, Settings};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Progress, Report};
use crate::targets::local::launch::{Life, launch};
use crate::targets::local::serve::{self, Wish};
use crate::targets::local::welcome::Welcome;
use crate::targets::pieces::{self, roster::Replicas, serve::Pieces};

/// The words of `up`.
#[derive(Debug, Args)]
#[command(
    after_help = "The database's address is a secret: set SHOPCTL_DATABASE_URL, or SHOPCTL_DATABASE_URL_FILE.\n\
                  Without one, --processes starts a PostgreSQL of its own from the programs that are installed."
)]
pub struct UpArgs {
    /// Port of the public listener; 0 takes a free one [default: 8080]
    #[arg(long)]
    port: Option<u16>,
    /// Folder of the shop's data [default: .shopctl/<env> beside shop.toml]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// What keeps the data: sqlite or postgres [default: sqlite; postgres with --processes]
    #[arg(long, value_enum, hide_possible_values = true)]
    engine: Option<Engine>,
    /// Run every service as a process of its own, on PostgreSQL
    #[arg(long)]
    processes: bool,
    /// How many processes a service has, as order=2,payment=2 [default: one each]
    #[arg(long, value_name = "COUNTS", requires = "processes")]
    replicas: Option<Replicas>,
    /// Keep every write on a second PostgreSQL as well, which takes over when the first is lost
    #[arg(long, requires = "processes")]
    standby: bool,
    /// Address of the PostgreSQL database, without a password
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Table of rate limits: local or none [default: local]
    #[arg(long, value_enum, hide_possible_values = true)]
    limits: Option<Limits>,
    /// Start without demo data
    #[arg(long)]
    empty: bool,
    /// Return when the shop is ready, and leave it running
    #[arg(long)]
    detach: bool,
    /// How long --detach waits for it
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    timeout: Span,
    /// Make a new password for the admin, and show it
    #[arg(long)]
    reset_admin: bool,
    /// Allow fault switches to be thrown; as it is in local
    #[arg(long, overrides_with = "no_allow_faults")]
    allow_faults: bool,
    /// Do not allow fault switches to be thrown
    #[arg(long)]
    no_allow_faults: bool,
    /// How long the process lives; set by the one that launches it
    #[arg(long, value_enum, hide = true)]
    life: Option<Life>,
}

impl UpArgs {
    fn overrides(&self) -> Overrides {
        let allow_faults = match (self.allow_faults, self.no_allow_faults) {
            (_, true) => Some(false),
            (true, false) => Some(true),
            (false, false) => None,
        };
        Overrides {
            port: self.port,
            data_dir: self.data_dir.clone(),
            engine: self.engine,
            database_url: self.database_url.clone(),
            limits: self.limits,
            allow_faults,
            demo: self.empty.then_some(false),
            processes: self.processes,
        }
    }
}

pub(super) fn run(args: &UpArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    platform::app::keep_files_private();
    if let Some(life) = args.life {
        life.begin();
    }
    context.on_this_machine()?;
    let settings = context.settings(&args.overrides())?;
    if args.detach && args.life.is_none() {
        detach(args, &settings, context)
    } else {
        let wish = Wish { environment: context.environment.clone(), reset_admin: args.reset_admin };
        if !args.processes {
            return serve::serve(&settings, &wish, &context.env, context.printer);
        }
        if args.standby && settings.database_url.is_some() {
            let message = "a standby is for the shop's own PostgreSQL, and the address of another is set";
            return Err(Failure::new(Exit::Usage, "E-STANDBY", message)
                .hint("leave --standby out, or unset SHOPCTL_DATABASE_URL and SHOPCTL_DATABASE_URL_FILE")
                .into());
        }
        let pieces = Pieces { replicas: args.replicas.clone().unwrap_or_default(), standby: args.standby };
        pieces::serve::serve(&settings, &wish, &pieces, &context.env, context.printer)
    }
}

/// Starts the shop in a process of its own and returns when it is ready.
fn detach(args: &UpArgs, settings: &Settings, context: &Context<'_>) -> anyhow::Result<Exit> {
    let printer = context.printer;
    let mut progress = Progress::new(printer);
    let words = words(args, settings, context);
    let launched = launch(&settings.data_dir, &words, Life::Own, args.timeout.duration(), |event| {
        let number = |field: &str| event[field].as_u64().unwrap_or(0);
        if let Some(phase) = event["phase"].as_str() {
            progress.step(phase, number("done"), number("total"));
        }
    })?;
    progress.clear();
    if printer.format() == Format::Ndjson {
        printer.event(&launched.ready)?;
        return Ok(Exit::Ok);
    }
    let welcome = Welcome::from_event(&launched.ready).context("the shop's `ready` event is not whole")?;
    let next = "running in the background: `shopctl status`, `shopctl logs -f`, `shopctl down`";
    printer.report(&Report::new(welcome.to_data(), welcome.body()).last_line(next))?;
    Ok(Exit::Ok)
}

/// What the launched process is told. A secret address goes through the environment, which it inherits.
fn words(args: &UpArgs, settings: &Settings, context: &Context<'_>) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["--env", &context.environment].map(OsString::from).to_vec();
    if let Some(path) = &context.config_path {
        words.extend(["--config".into(), path.into()]);
    }
    let port = settings.port.to_string();
    let (engine, limits) = (settings.engine.to_string(), settings.limits.to_string());
    words.extend(["--port", &port, "--engine", &engine, "--limits", &limits].map(OsString::from));
    words.push(if settings.allow_faults { "--allow-faults" } else { "--no-allow-faults" }.into());
    if let Some(url) = &args.database_url {
        words.extend(["--database-url".into(), url.into()]);
    }
    words.extend(args.processes.then(|| "--processes".into()));
    words.extend(args.standby.then(|| "--standby".into()));
    if let Some(replicas) = args.replicas.as_ref().filter(|replicas| !replicas.is_empty()) {
        words.extend(["--replicas".into(), replicas.to_string().into()]);
    }
    words.extend((!settings.demo).then(|| "--empty".into()));
    words.extend(args.reset_admin.then(|| "--reset-admin".into()));
    words
}

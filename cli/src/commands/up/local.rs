//! Starts a shop on this machine, shows where it is, and keeps it until it is told to stop.

use std::ffi::OsString;

use anyhow::Context as _;

use super::UpArgs;
use crate::commands::duration::Span;
use crate::config::Settings;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Progress, Report};
use crate::targets::local::launch::{Life, launch};
use crate::targets::local::serve::{self, Wish};
use crate::targets::local::welcome::Welcome;
use crate::targets::pieces::{self, serve::Pieces};

/// How long `--detach` waits, unless somebody says otherwise.
const TIMEOUT: Span = Span::seconds(60);

pub(super) fn run(args: &UpArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
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
    let launched =
        launch(&settings.data_dir, &words, Life::Own, args.timeout.unwrap_or(TIMEOUT).duration(), |event| {
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

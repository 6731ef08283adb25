//! `shopctl rollout`: where releases are, and what a person wants of them.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::errand::{Errand, failed, report};
use super::lock::myself;
use crate::cluster::connect::Cluster;
use crate::cluster::lock;
use crate::cluster::release::command;
use crate::cluster::release::drive::Ended;
use crate::cluster::release::shop::ShopState;
use crate::cluster::rollout::{Command, Outcome, Verb};
use crate::cluster::state::Stored;
use crate::config::KubernetesSettings;
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::output::{Body, Report, Table};
use crate::targets::kubernetes::deploy::Wish;
use crate::targets::kubernetes::{self, Consent, Danger};

/// The words of `rollout`.
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Show which revision of each service is live, and how far releases are
    Status,
    /// Let a release stay where it is, once its slots no longer serve together
    Pause(ActArgs),
    /// Go on after a pause, or let customers reach what waits for it
    Promote(ActArgs),
    /// Go back, as long as it is not released
    Abort(ActArgs),
    /// Go back, also when it is released, as long as the old slot has its pods
    Undo(ActArgs),
}

/// The words of what acts on a release.
#[derive(Debug, Args)]
pub struct ActArgs {
    /// The service; all whose release goes on when left out
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Why; kept in the record of the release
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    consent: Consent,
}

impl RolloutCommand {
    /// The second word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Pause(_) => "pause",
            Self::Promote(_) => "promote",
            Self::Abort(_) => "abort",
            Self::Undo(_) => "undo",
        }
    }
}

pub(super) fn run(command: &RolloutCommand, context: &Context<'_>) -> anyhow::Result<Report> {
    let settings = context.config()?.kubernetes(variable)?;
    context.runtime()?.block_on(async {
        let cluster = kubernetes::connect(&settings, &context.env).await?;
        match command {
            RolloutCommand::Status => status(&cluster).await,
            RolloutCommand::Pause(args) => act(Verb::Pause, args, &cluster, &settings, context).await,
            RolloutCommand::Promote(args) => act(Verb::Promote, args, &cluster, &settings, context).await,
            RolloutCommand::Abort(args) => act(Verb::Abort, args, &cluster, &settings, context).await,
            RolloutCommand::Undo(args) => act(Verb::Undo, args, &cluster, &settings, context).await,
        }
    })
}

async fn load(cluster: &Cluster) -> anyhow::Result<ShopState> {
    let stored = Stored::<ShopState>::load(&cluster.api, cluster.namespace()).await;
    Ok(stored.map_err(|error| failed(error.into()))?.value)
}

async fn status(cluster: &Cluster) -> anyhow::Result<Report> {
    let shop = load(cluster).await?;
    let mut table = Table::new(["service", "live slot", "revision", "release", "phase", "since", "why"]);
    let mut rows = Vec::new();
    for (service, state) in &shop.services {
        let release = state.release.as_ref();
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let phase = release.map(|release| release.phase().name()).unwrap_or_default();
        let pause = release.and_then(|release| release.pause()).map(|pause| format!("paused: {}", pause.why));
        let why =
            release.and_then(|release| release.reason().map(str::to_owned)).or(pause).unwrap_or_default();
        let since = release.map(|release| release.since().to_string()).unwrap_or_default();
        let begun = number(release.map(|release| release.plan().revision));
        table.row([
            service.clone(),
            state.live.to_string(),
            number(state.revision),
            begun,
            phase.to_owned(),
            since,
            why.clone(),
        ]);
        rows.push(json!({
            "service": service,
            "live": state.live,
            "revision": state.revision,
            "release": release.map(|release| release.plan().revision),
            "phase": phase,
            "why": why,
        }));
    }
    let report = Report::new(json!({"services": rows}), Body::Table(table)).after_events();
    Ok(if rows.is_empty() {
        report.last_line("nothing was rolled out yet: `shopctl deploy`")
    } else {
        report
    })
}

async fn act(
    verb: Verb,
    args: &ActArgs,
    cluster: &Cluster,
    settings: &KubernetesSettings,
    context: &Context<'_>,
) -> anyhow::Result<Report> {
    let began = std::time::Instant::now();
    let shop = load(cluster).await?;
    let goes_on = |service: &String| shop.service(service).unfinished().is_some();
    let is_any = match &args.service {
        Some(service) => goes_on(service),
        None => shop.services.keys().any(goes_on),
    };
    if !is_any {
        let message = match &args.service {
            Some(service) => format!("no release of {service} goes on"),
            None => "no release goes on".to_owned(),
        };
        return Err(Failure::new(Exit::Usage, "E-NO-RELEASE", message)
            .hint("see `shopctl rollout status`; `shopctl rollback` brings an earlier revision back")
            .into());
    }
    let word = command::word(verb);
    let what = format!("{word} of the release in {}", settings.environment);
    args.consent.to(&what, Danger::Moderate, settings, context.printer)?;
    let run = context.printer.run().to_owned();
    let told = Command { id: run.clone(), by: myself(), why: args.reason.clone(), verb };
    let told = command::tell(&cluster.api, cluster.namespace(), args.service.as_deref(), &told).await;
    told.map_err(|error| cluster.refused(error, "tell the release"))?;
    // Whoever drives the release hears it. When nobody does, it is for us to.
    let holder = lock::holder(&cluster.api, cluster.namespace()).await;
    if let Some(holder) = holder.map_err(|error| cluster.refused(error, "look at the lock"))? {
        let told = format!("told to {}, who drives the release", holder.who);
        return Ok(Report::facts(json!({"told": holder.who}), [(word, told)]).after_events());
    }
    let wish = Wish::usual(Wish::usual_strategy(settings.strategy), settings.gates.clone(), myself(), run);
    let command = format!("rollout {word}");
    let errand = Errand { command: &command, patience: Duration::ZERO, image: None, sets: &[], wish: &wish };
    let deployed = errand
        .under_lock(cluster, settings, context, async |deploy, desired| deploy.go_on(&desired).await)
        .await?;
    let report = report(&deployed, began.elapsed());
    // Going back is what was asked for.
    let is_back = |end: &Ended| matches!(end, Ended::With(Outcome::RolledBack { .. }));
    let is_done = matches!(verb, Verb::Abort | Verb::Undo) && deployed.services.values().all(is_back);
    Ok(if is_done { report.exit(Exit::Ok) } else { report })
}

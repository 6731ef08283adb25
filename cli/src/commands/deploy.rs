//! `shopctl deploy`: brings the shop onto its cluster, or what changed of it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::duration::Span;
use super::lock::{held, myself};
use crate::cluster::apply::{ApplyError, Consent as Taking};
use crate::cluster::connect::Cluster;
use crate::cluster::lock::{self, Lock, Taken, Wish as LockWish};
use crate::cluster::release::drive::Ended;
use crate::cluster::release::{Event, ReleaseError};
use crate::cluster::rollout::Outcome;
use crate::cluster::state::StateError;
use crate::config::{KubernetesSettings, Strategy};
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Report};
use crate::targets::kubernetes::deploy::{Deploy, Deployed, Wish, told};
use crate::targets::kubernetes::{self, Consent, Danger, rendering};

/// The words of `deploy`.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// The image to roll out, with a tag or a digest
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// How one release follows another: rolling or blue-green
    #[arg(long, value_enum, hide_possible_values = true, value_name = "HOW")]
    strategy: Option<Strategy>,
    /// Blue-green: wait for `shopctl rollout promote` before customers reach the new pods
    #[arg(long)]
    by_hand: bool,
    /// Blue-green: how long both slots serve
    #[arg(long, value_name = "LENGTH", default_value = "15s")]
    overlap: Span,
    /// Blue-green: how long the old slot keeps its pods, so that it can be undone at once
    #[arg(long, value_name = "LENGTH", default_value = "0s")]
    keep_warm: Span,
    /// One value of the chart, as `a.b=c`; may be given again
    #[arg(long = "set", value_name = "NAME=VALUE")]
    sets: Vec<String>,
    /// How long pods may take to get ready
    #[arg(long, value_name = "LENGTH", default_value = "10m")]
    timeout: Span,
    /// Wait so long for somebody else's deploy
    #[arg(long, value_name = "LENGTH", default_value = "0s")]
    lock_wait: Span,
    /// How many revisions of each service are kept
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..))]
    history: u16,
    /// Take fields and objects that others own
    #[arg(long)]
    take_ownership: bool,
    #[command(flatten)]
    consent: Consent,
}

pub(super) fn run(args: &DeployArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let settings = context.config()?.kubernetes(variable)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(deploy(args, &settings, context))
}

async fn deploy(
    args: &DeployArgs,
    settings: &KubernetesSettings,
    context: &Context<'_>,
) -> anyhow::Result<Report> {
    let began = Instant::now();
    let cluster = kubernetes::connect(settings, &context.env).await?;
    context.printer.say(&cluster.banner());
    let known = rendering::services(crate::cluster::chart::Chart::embedded())?;
    for service in &args.services {
        if !known.contains(service) {
            let message = format!("there is no service `{service}`");
            let near = crate::failure::nearest(service, known.iter().map(String::as_str));
            return Err(Failure::new(Exit::Usage, "E-SERVICE", message)
                .hint(near.map_or_else(|| known.join(", "), |near| format!("did you mean `{near}`?")))
                .into());
        }
    }
    args.consent.to(
        &format!("deploying to {}", settings.environment),
        Danger::Moderate,
        settings,
        context.printer,
    )?;
    kubernetes::make_namespace(&cluster).await?;
    let run = context.env.id::<()>().to_string();
    let lock = take_lock("deploy", args.lock_wait.duration(), &cluster, &run, context).await?;
    let stopped = stop_switch(context);
    let outcome = async {
        let desired =
            rendering::desired(&cluster, settings, args.image.as_deref(), &args.sets, &context.env).await?;
        let seconds = |length: Duration| u32::try_from(length.as_secs()).unwrap_or(u32::MAX);
        let word = args.strategy.unwrap_or(settings.strategy);
        let wish = Wish {
            strategy: Wish::strategy(
                word,
                seconds(args.overlap.duration()),
                seconds(args.keep_warm.duration()),
                args.by_hand,
            ),
            only: args.services.clone(),
            consent: Taking { takes_over: args.take_ownership },
            ready: args.timeout.duration(),
            keep: args.history.into(),
            who: myself(),
            run,
            waits_for_old: true,
        };
        let events = RefCell::new(0_usize);
        let talk = |event: Event| {
            *events.borrow_mut() += 1;
            say(&event, context);
        };
        let is_stopped = || stopped.load(Ordering::SeqCst) > 0;
        let deploy = Deploy {
            cluster: &cluster,
            env: &context.env,
            lock: &lock,
            wish: &wish,
            talk: &talk,
            is_stopped: &is_stopped,
        };
        deploy.run(desired).await.map_err(failed)
    }
    .await;
    if let Err(error) = lock.release().await {
        context.printer.warn(&format!("the deploy lock ends by itself in a minute: {error}"));
    }
    Ok(report(&outcome?, began.elapsed()))
}

pub(super) async fn take_lock(
    command: &str,
    patience: Duration,
    cluster: &Cluster,
    run: &str,
    context: &Context<'_>,
) -> anyhow::Result<Lock> {
    let wish = LockWish {
        who: format!("{}#{run}", myself()),
        command: command.to_owned(),
        message: String::new(),
        is_manual: false,
    };
    let taken = lock::take(&cluster.api, cluster.namespace(), &wish, patience, &context.env).await;
    match taken.map_err(|error| cluster.refused(error, "take the deploy lock"))? {
        Taken::Ours(lock) => Ok(lock),
        Taken::Held(holder) => Err(held(&holder).into()),
    }
}

/// Counts signals: the first lets the step that is under way end, the second ends the process at once.
pub(super) fn stop_switch(context: &Context<'_>) -> std::sync::Arc<AtomicU8> {
    let count = std::sync::Arc::new(AtomicU8::new(0));
    let counted = std::sync::Arc::clone(&count);
    let is_talkative = context.printer.is_talkative();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if counted.fetch_add(1, Ordering::SeqCst) > 0 {
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
            if is_talkative {
                tracing::warn!(
                    "stopping after this step; press again to stop now. The same command goes on from here"
                );
            }
        }
    });
    count
}

pub(super) fn say(event: &Event, context: &Context<'_>) {
    if context.printer.format() == Format::Ndjson {
        let told = serde_json::to_value(event).unwrap_or_default();
        // A reader that went away is noticed when the result is printed.
        context.printer.event(&told).ok();
    } else {
        context.printer.say(&told(event));
    }
}

pub(super) fn failed(error: ReleaseError) -> anyhow::Error {
    let message = error.to_string();
    let (exit, code, hint) = match &error {
        ReleaseError::Apply(ApplyError::Contested { .. }) => (
            Exit::Conflict,
            "E-KUBE-CONTESTED",
            "let the others keep the field by leaving it out, or take it with --take-ownership",
        ),
        ReleaseError::Apply(ApplyError::Foreign { .. }) => {
            (Exit::Conflict, "E-KUBE-FOREIGN", "use another namespace, or take it over with --take-ownership")
        }
        ReleaseError::Prepare { .. } => {
            (Exit::RolledBack, "E-PREPARE", "nothing that serves was changed; mend it and deploy again")
        }
        ReleaseError::Interrupted => {
            (Exit::Interrupted, "E-INTERRUPTED", "the same command goes on from here")
        }
        ReleaseError::LockLost | ReleaseError::State(StateError::Overtaken) => {
            (Exit::Conflict, "E-OVERTAKEN", "look who deploys with `shopctl lock status`")
        }
        ReleaseError::Apply(ApplyError::Refused { error, .. }) if error.code().is_some() => {
            (Exit::Config, "E-KUBE-REFUSED", "the cluster does not take it as it is: the answer says why")
        }
        ReleaseError::NotRendered { .. } => (Exit::Internal, "E-CHART", "the chart lacks an object"),
        _ => (Exit::Unreachable, "E-KUBE", "the same command goes on from where it stands"),
    };
    Failure::new(exit, code, message).hint(hint).because(error).into()
}

pub(super) fn report(deployed: &Deployed, took: Duration) -> Report {
    let mut facts = Vec::new();
    let mut exit = Exit::Ok;
    let mut rows = Vec::new();
    for (service, end) in &deployed.services {
        let (word, why, code) = verdict(end);
        facts
            .push((service.clone(), if why.is_empty() { word.to_owned() } else { format!("{word}: {why}") }));
        rows.push(json!({"service": service, "outcome": word, "why": why}));
        exit = worse(exit, code);
    }
    if !deployed.unchanged.is_empty() {
        facts.push(("unchanged".to_owned(), deployed.unchanged.join(", ")));
    }
    facts.push((
        "objects".to_owned(),
        format!("{} changed, {} taken away", deployed.applied, deployed.pruned),
    ));
    facts.push(("took".to_owned(), format!("{:.1} s", took.as_secs_f64())));
    let data = json!({
        "services": rows,
        "unchanged": deployed.unchanged,
        "objects_changed": deployed.applied,
        "objects_pruned": deployed.pruned,
        "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    });
    Report::facts(data, facts).exit(exit)
}

fn verdict(end: &Ended) -> (&'static str, String, Exit) {
    match end {
        Ended::Released | Ended::With(Outcome::Released) => ("released", String::new(), Exit::Ok),
        Ended::With(Outcome::RolledBack { reason }) => ("rolled back", reason.clone(), Exit::RolledBack),
        Ended::With(Outcome::Failed { reason }) => ("failed", reason.clone(), Exit::Degraded),
        Ended::Stuck { reason } => ("stuck", reason.clone(), Exit::Degraded),
        Ended::Paused { why } => ("paused", why.clone(), Exit::Ok),
        Ended::Interrupted => ("interrupted", String::new(), Exit::Interrupted),
    }
}

/// The one that says more of what went wrong.
fn worse(one: Exit, other: Exit) -> Exit {
    if other == Exit::Ok || one == Exit::Degraded { one } else { other }
}

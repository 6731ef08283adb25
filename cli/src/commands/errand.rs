//! What the commands share that change a shop on a cluster: the lock, the rendering, the signals, and what is said.

use std::cell::Cell;
use std::time::Duration;

use serde_json::json;

use super::lock::{held, myself};
use crate::cluster::apply::ApplyError;
use crate::cluster::connect::Cluster;
use crate::cluster::lock::{self, Lock, Taken, Wish as LockWish};
use crate::cluster::release::desired::Desired;
use crate::cluster::release::drive::Ended;
use crate::cluster::release::{Event, ReleaseError};
use crate::cluster::rollout::Outcome;
use crate::cluster::state::StateError;
use crate::config::KubernetesSettings;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Report};
use crate::targets::kubernetes::deploy::{Deploy, Deployed, Wish, told};
use crate::targets::kubernetes::{self, rendering};

/// A change of a shop on a cluster.
pub(super) struct Errand<'a> {
    /// The words of the command, for whoever finds the lock held.
    pub(super) command: &'a str,
    /// How long somebody else's lock is waited for.
    pub(super) patience: Duration,
    /// The image that is rolled out, when it is not the environment's.
    pub(super) image: Option<&'a str>,
    /// Values of the chart, as `a.b=c`.
    pub(super) sets: &'a [String],
    /// What is to be done.
    pub(super) wish: &'a Wish,
}

impl Errand<'_> {
    /// Does `work` with what was rendered, while the lock is ours. The first signal lets the step that is under way end, the
    /// second ends the process at once.
    pub(super) async fn under_lock<T>(
        &self,
        cluster: &Cluster,
        settings: &KubernetesSettings,
        context: &Context<'_>,
        work: impl AsyncFnOnce(&Deploy<'_>, Desired) -> Result<T, ReleaseError>,
    ) -> anyhow::Result<T> {
        let held = Held { command: self.command, patience: self.patience, run: &self.wish.run };
        held.locked(cluster, context, async |lock, is_stopped| {
            let desired = rendering::desired(cluster, settings, self.image, self.sets, &context.env).await?;
            let deploy = Deploy {
                cluster,
                env: &context.env,
                lock,
                wish: self.wish,
                talk: &|event| say(&event, context),
                is_stopped,
            };
            work(&deploy, desired).await.map_err(failed)
        })
        .await
    }
}

/// The deploy lock, as it is asked for.
pub(super) struct Held<'a> {
    /// The words of the command, for whoever finds the lock held.
    pub(super) command: &'a str,
    /// How long somebody else's lock is waited for.
    pub(super) patience: Duration,
    /// The run.
    pub(super) run: &'a str,
}

impl Held<'_> {
    /// Does `work` while the lock is ours. It is told whether to stop: the first signal lets the step that is under way end,
    /// the second ends the process at once.
    pub(super) async fn locked<T>(
        &self,
        cluster: &Cluster,
        context: &Context<'_>,
        work: impl AsyncFnOnce(&Lock, &dyn Fn() -> bool) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let lock = take_lock(self.command, self.patience, cluster, self.run, context).await?;
        let is_told_to_stop = Cell::new(false);
        let is_stopped = || is_told_to_stop.get();
        let outcome = tokio::select! {
            outcome = work(&lock, &is_stopped) => outcome,
            never = hear_signals(&is_told_to_stop, context) => match never {},
        };
        if let Err(error) = lock.release().await {
            context.printer.warn(&format!("the deploy lock ends by itself in a minute: {error}"));
        }
        outcome
    }
}

/// Connects to the cluster of `settings`, and says which one it is that is about to be changed.
pub(super) async fn connect(settings: &KubernetesSettings, context: &Context<'_>) -> anyhow::Result<Cluster> {
    let cluster = kubernetes::connect(settings, &context.env).await?;
    context.printer.say(&cluster.banner());
    Ok(cluster)
}

/// Notes the first signal, ends the process at the second.
async fn hear_signals(is_told_to_stop: &Cell<bool>, context: &Context<'_>) -> std::convert::Infallible {
    while tokio::signal::ctrl_c().await.is_ok() {
        if is_told_to_stop.replace(true) {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        context
            .printer
            .say("stopping after this step; press again to stop now. The same command goes on from here");
    }
    std::future::pending().await
}

async fn take_lock(
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
        ReleaseError::NotReady { .. } => {
            (Exit::Timeout, "E-TIMEOUT", "look with `shopctl why`, or give it longer with --timeout")
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
    Report::facts(data, facts).after_events().exit(exit)
}

fn verdict(end: &Ended) -> (&'static str, String, Exit) {
    match end {
        Ended::With(Outcome::Released) => ("released", String::new(), Exit::Ok),
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

//! Takes the shop off its cluster: all that a deploy made, and what is written down of its releases.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::DownArgs;
use crate::cluster::applyset::ApplySet;
use crate::cluster::connect::Cluster;
use crate::cluster::lock;
use crate::cluster::object::Object;
use crate::cluster::release::{command, record};
use crate::cluster::removal::{Removal, RemovalError, is_claim_of_shop};
use crate::cluster::{revision, state};
use crate::commands::duration::{Span, told};
use crate::commands::errand::{Held, connect};
use crate::config::KubernetesSettings;
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::output::{Body, Format, Report};
use crate::targets::kubernetes::Danger;

/// How long it may take, unless somebody says otherwise: pods drain for a minute, one wave after the other.
const TIMEOUT: Span = Span::seconds(300);

/// What became of it.
struct Gone {
    /// The objects that went.
    removed: usize,
    /// The revisions that were forgotten.
    revisions: usize,
    /// What stays.
    kept: Vec<Object>,
}

pub(super) fn run(args: &DownArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let settings = context.config()?.kubernetes(variable)?;
    context.runtime()?.block_on(down(args, &settings, context))
}

async fn down(
    args: &DownArgs,
    settings: &KubernetesSettings,
    context: &Context<'_>,
) -> anyhow::Result<Report> {
    let began = Instant::now();
    let cluster = connect(settings, context).await?;
    let namespace = cluster.api.get(("v1", "Namespace"), "", cluster.namespace()).await;
    if namespace.map_err(|error| cluster.refused(error, "look at the namespace"))?.is_none() {
        let gone = Gone { removed: 0, revisions: 0, kept: Vec::new() };
        return Ok(report(&gone, &cluster, began.elapsed()));
    }
    let (what, danger) = if args.volumes {
        (format!("taking the shop off {} with all its data", settings.environment), Danger::Severe)
    } else {
        let what =
            format!("taking the shop off {}: nobody is served until it is up again", settings.environment);
        (what, Danger::Outage { is_agreed: args.yes })
    };
    args.consent.to(&what, danger, settings, context.printer)?;
    let run = context.printer.run().to_owned();
    let patience = args.lock_wait.map_or(Duration::ZERO, Span::duration);
    let at_most = args.timeout.unwrap_or(TIMEOUT).duration();
    let held = Held { command: "down", patience, run: &run };
    let gone = held
        .locked(&cluster, context, async |lock, is_stopped| {
            let must_stop = || is_stopped() || lock.is_lost();
            let removed = remove(&cluster, args.volumes, at_most, &must_stop, context).await;
            // Somebody else may be bringing up what we take away.
            if removed.is_err() && lock.is_lost() { Err(overtaken().into()) } else { removed }
        })
        .await?;
    Ok(report(&gone, &cluster, began.elapsed()))
}

/// The objects first, what is written down of them last: whoever is killed in between finds all that is left by it.
async fn remove(
    cluster: &Cluster,
    with_volumes: bool,
    at_most: Duration,
    is_stopped: &dyn Fn() -> bool,
    context: &Context<'_>,
) -> anyhow::Result<Gone> {
    let (api, namespace) = (&cluster.api, cluster.namespace());
    let refused = |error| cluster.refused(error, "take the shop away");
    let mut set = ApplySet::find(api, namespace).await.map_err(refused)?;
    let members = set.members(api).await.map_err(refused)?;
    let mut claims = api.list(("v1", "PersistentVolumeClaim"), namespace, "").await.map_err(refused)?;
    claims.retain(is_claim_of_shop);
    let removal = Removal::plan(members, claims, with_volumes);
    let tell = |object: &Object| say(object, context);
    removal.carry_out(api, at_most, is_stopped, &tell).await.map_err(|error| not_removed(error, cluster))?;
    if is_stopped() {
        return Err(not_removed(RemovalError::Stopped, cluster).into());
    }
    let revisions = revision::forget_all(api, namespace).await.map_err(refused)?;
    record::forget(api, namespace).await.map_err(refused)?;
    state::forget(api, namespace).await.map_err(refused)?;
    command::forget(api, namespace).await.map_err(refused)?;
    let kept_members: Vec<Object> =
        removal.kept.iter().filter(|object| object.kind() != "PersistentVolumeClaim").cloned().collect();
    // What is kept is found again by the set that it belongs to.
    if kept_members.is_empty() {
        set.end(api).await.map_err(refused)?;
    } else {
        set.narrow(api, &kept_members).await.map_err(refused)?;
    }
    let removed = removal.count();
    lock::forget(api, namespace).await.map_err(refused)?;
    Ok(Gone { removed, revisions, kept: removal.kept })
}

fn say(object: &Object, context: &Context<'_>) {
    let name = object.key().to_string();
    if context.printer.format() == Format::Ndjson {
        // A reader that went away is noticed when the result is printed.
        context.printer.event(&json!({"event": "pruned", "object": name})).ok();
    } else {
        context.printer.say(&format!("takes {name} away"));
    }
}

fn not_removed(error: RemovalError, cluster: &Cluster) -> Failure {
    match error {
        RemovalError::Api(error) => cluster.refused(error, "take the shop away"),
        RemovalError::Late { .. } => Failure::new(Exit::Timeout, "E-DOWN-LATE", error.to_string())
            .hint("the same command goes on from here; give it longer with --timeout"),
        RemovalError::Stopped => Failure::new(Exit::Interrupted, "E-INTERRUPTED", "stopped")
            .hint("the same command goes on from here"),
    }
}

fn overtaken() -> Failure {
    Failure::new(
        Exit::Conflict,
        "E-OVERTAKEN",
        "the deploy lock could not be renewed: somebody else may hold it",
    )
    .hint("look who deploys with `shopctl lock status`; the same command goes on from here")
}

fn report(gone: &Gone, cluster: &Cluster, took: Duration) -> Report {
    let environment = &cluster.place.environment;
    let namespace = cluster.namespace();
    let kept: Vec<_> = gone
        .kept
        .iter()
        .map(|object| json!({"object": object.key().to_string(), "why": why_kept(object)}))
        .collect();
    let data = json!({
        "stopped": gone.removed > 0,
        "objects_removed": gone.removed,
        "revisions_removed": gone.revisions,
        "kept": kept,
        "namespace": namespace,
        "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    });
    let mut facts =
        vec![("taken away".to_owned(), format!("{} objects, {} revisions", gone.removed, gone.revisions))];
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for object in &gone.kept {
        by_reason.entry(why_kept(object)).or_default().push(object.key().to_string());
    }
    for (why, objects) in by_reason {
        facts.push(("kept".to_owned(), format!("{}: {why}", objects.join(", "))));
    }
    if !gone.kept.is_empty() {
        let all = format!("shopctl down -e {environment} --volumes --confirm {environment}");
        facts.push(("removes these".to_owned(), all));
    }
    facts.push((
        "kept".to_owned(),
        format!("Namespace/{namespace}: others may use it (kubectl delete namespace {namespace})"),
    ));
    let body = Report::facts(data.clone(), facts).body;
    let report =
        Report::new(data, if gone.removed == 0 && gone.kept.is_empty() { Body::Nothing } else { body })
            .after_events();
    if gone.removed == 0 {
        return report.last_line(format!("nothing to stop: no shop is in the namespace {namespace}"));
    }
    let again = if gone.kept.is_empty() { "" } else { "; the data is kept, `shopctl up` goes on with it" };
    report.last_line(format!("the shop is off {environment} after {}{again}", told(took)))
}

fn why_kept(object: &Object) -> &'static str {
    match object.kind() {
        "PersistentVolumeClaim" => "the shop's data",
        "Secret" => "the keys without which the data cannot be opened",
        _ => "it says that it is to be kept",
    }
}

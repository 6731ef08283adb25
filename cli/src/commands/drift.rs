//! `shopctl drift`: what of a shop on its cluster is otherwise than the last deploy made it, and putting it right.

use std::collections::BTreeMap;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::changing::until_well;
use super::duration::Span;
use super::errand::{Held, failed, say};
use crate::cluster::connect::Cluster;
use crate::cluster::drift::{Class, Drift, Field};
use crate::cluster::release::ReleaseError;
use crate::cluster::release::record::Record;
use crate::cluster::release::shop::ShopState;
use crate::cluster::revision;
use crate::cluster::settle::Awaited;
use crate::cluster::state::Stored;
use crate::config::KubernetesSettings;
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::output::{Body, Format, Report, Table};
use crate::targets::kubernetes::drift::{self, Found, Touched};
use crate::targets::kubernetes::{self, Consent, Danger, rendering};

/// The words of `drift`.
#[derive(Debug, Args)]
#[command(after_help = "missing  what a deploy made is not there\n\
                  changed  fields that a deploy set are otherwise\n\
                  foreign  others added fields to pods or Services\n\
                  extra    it is marked as the shop's, and no deploy made it\n\n\
                  What was scaled, restarted, or written by the cluster itself is no drift.")]
pub struct DriftArgs {
    /// End with 10 when something is otherwise
    #[arg(long)]
    exit_code: bool,
    /// Bring back what is missing or changed, and remove what is foreign
    #[arg(long)]
    fix: bool,
    /// With --fix: take away what is extra
    #[arg(long, requires = "fix")]
    prune: bool,
    /// With --fix: do not ask
    #[arg(long)]
    yes: bool,
    /// With --fix: how long pods may take to get ready
    #[arg(long, value_name = "LENGTH", default_value = "10m")]
    timeout: Span,
    /// With --fix: wait so long for somebody else's deploy
    #[arg(long, value_name = "LENGTH", default_value = "0s")]
    lock_wait: Span,
    #[command(flatten)]
    consent: Consent,
}

/// A look at the shop: what it is held against, and what was found.
struct Look {
    shop: ShopState,
    record: Record,
    found: Found,
}

pub(super) fn run(args: &DriftArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let settings = context.config()?.kubernetes(variable)?;
    context.runtime()?.block_on(async {
        let cluster = kubernetes::connect(&settings, &context.env).await?;
        let seen = look(&cluster, &settings, context).await?.found;
        if !args.fix || !seen.drifts.iter().any(|drift| can_fix(drift, args)) {
            return report(args, &seen, None, context);
        }
        let began = Instant::now();
        context.printer.say(&cluster.banner());
        context.printer.talk(&lines(&seen.drifts));
        let what = format!("putting this right in {}", settings.environment);
        args.consent.to(&what, Danger::Undoing { is_agreed: args.yes }, &settings, context.printer)?;
        let left = fix(args, &cluster, &settings, &seen.drifts, context).await?;
        let is_left = |drift: &&Drift| left.drifts.iter().any(|other| other.is_like(drift));
        let fixed: Vec<Drift> = seen.drifts.iter().filter(|drift| !is_left(drift)).cloned().collect();
        report(args, &left, Some((&fixed, began)), context)
    })
}

fn can_fix(drift: &Drift, args: &DriftArgs) -> bool {
    drift.unfixable.is_none() && (drift.class != Class::Extra || args.prune)
}

async fn look(
    cluster: &Cluster,
    settings: &KubernetesSettings,
    context: &Context<'_>,
) -> anyhow::Result<Look> {
    let (api, namespace) = (&cluster.api, cluster.namespace());
    let stored = Stored::<ShopState>::load(api, namespace).await;
    let shop = stored.map_err(|error| failed(error.into()))?.value;
    if shop.services.values().all(|state| state.revision.is_none() && state.release.is_none()) {
        let message = format!("no shop was deployed to the namespace {namespace}");
        return Err(Failure::new(Exit::Unreachable, "E-KUBE-NO-SHOP", message)
            .hint(format!("`shopctl deploy -e {}` brings one", settings.environment))
            .into());
    }
    let record = match Record::load(api, namespace).await.map_err(|error| failed(error.into()))? {
        Some(record) => record,
        None => {
            context.printer.warn(
                "the last deploy left no record of what is everybody's: it is held against the values as they are now",
            );
            let image = usual_image(cluster, &shop).await?;
            Record::of(&rendering::desired(cluster, settings, image.as_deref(), &[], &context.env).await?)
        }
    };
    let found = drift::find(cluster, &shop, &record).await.map_err(failed)?;
    Ok(Look { shop, record, found })
}

/// The image that most services run.
async fn usual_image(cluster: &Cluster, shop: &ShopState) -> anyhow::Result<Option<String>> {
    let all = revision::list(&cluster.api, cluster.namespace()).await;
    let all = all.map_err(|error| cluster.refused(error, "look at the revisions"))?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for one in all {
        if shop.service(&one.service).revision == Some(one.number) {
            *counts.entry(one.image).or_default() += 1;
        }
    }
    Ok(counts.into_iter().max_by_key(|(_, count)| *count).map(|(image, _)| image))
}

/// Puts right what of `shown` is still so, waits until its pods are well, and answers what is left.
async fn fix(
    args: &DriftArgs,
    cluster: &Cluster,
    settings: &KubernetesSettings,
    shown: &[Drift],
    context: &Context<'_>,
) -> anyhow::Result<Found> {
    let run = context.printer.run().to_owned();
    let held = Held { command: "drift --fix", patience: args.lock_wait.duration(), run: &run };
    held.locked(cluster, context, async |lock, is_stopped| {
        let seen = look(cluster, settings, context).await?;
        let mut still = seen.found.drifts;
        still.retain(|drift| shown.iter().any(|other| other.is_like(drift)));
        // What nobody was shown is left alone.
        for drift in &mut still {
            let was_shown = |field: &Field| {
                shown.iter().any(|other| {
                    other.is_like(drift) && other.fields.iter().any(|one| one.path == field.path)
                })
            };
            let fields: Vec<Field> = drift.fields.iter().filter(|field| was_shown(field)).cloned().collect();
            drift.fields = fields;
        }
        let must_stop = || match (is_stopped(), lock.is_lost()) {
            (_, true) => Err(ReleaseError::LockLost),
            (true, _) => Err(ReleaseError::Interrupted),
            _ => Ok(()),
        };
        let talk = |event| say(&event, context);
        let touched =
            drift::fix(cluster, &seen.shop, &seen.record, &still, args.prune, &must_stop, &talk).await;
        let awaited = awaited(touched.map_err(failed)?);
        until_well(cluster, &awaited, args.timeout.duration(), is_stopped, context).await?;
        Ok(look(cluster, settings, context).await?.found)
    })
    .await
}

/// Each workload once, as it was left.
fn awaited(touched: Vec<Touched>) -> Vec<Awaited> {
    let last: BTreeMap<_, _> = touched.into_iter().collect();
    last.into_iter().map(|(key, generation)| Awaited { key, generation }).collect()
}

fn report(
    args: &DriftArgs,
    found: &Found,
    fixed: Option<(&[Drift], Instant)>,
    context: &Context<'_>,
) -> anyhow::Result<Report> {
    for drift in &found.drifts {
        let mut event = serde_json::to_value(drift)?;
        event["event"] = "drift".into();
        context.printer.event(&event)?;
    }
    for (service, why) in &found.left_out {
        context.printer.warn(&format!("{service} was not looked at: {why}"));
    }
    let left_out: Vec<Value> =
        found.left_out.iter().map(|(service, why)| json!({"service": service, "why": why})).collect();
    let mut data = json!({"drift": found.drifts, "left_out": left_out});
    if let Some((fixed, began)) = fixed {
        data["fixed"] = serde_json::to_value(fixed)?;
        data["took_ms"] = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).into();
    }
    let body = match context.printer.format() {
        Format::Csv | Format::Md => Body::Table(table(&found.drifts)),
        _ => Body::Text(lines(&found.drifts)),
    };
    let report = Report::new(data, body).after_events().last_line(last_line(
        args,
        found,
        fixed.map(|(fixed, _)| fixed),
    ));
    Ok(if args.exit_code && !found.drifts.is_empty() { report.exit(Exit::Changes) } else { report })
}

fn last_line(args: &DriftArgs, found: &Found, fixed: Option<&[Drift]>) -> String {
    let count = found.drifts.len();
    let put_right = fixed.map(|fixed| format!("put right: {}; ", fixed.len())).unwrap_or_default();
    if count == 0 {
        let all = if found.left_out.is_empty() { "all is" } else { "what was looked at is" };
        return format!("{put_right}{all} as the last deploy made it");
    }
    let unfixable = found.drifts.iter().filter(|drift| drift.unfixable.is_some()).count();
    let extra = found.drifts.iter().filter(|drift| drift.class == Class::Extra).count();
    let next = match count - unfixable - extra {
        0 if unfixable > 0 => "a person is needed",
        0 if args.prune => "the same command goes on",
        0 => "`shopctl drift --fix --prune` takes away what is extra",
        _ => "`shopctl drift --fix` puts it right",
    };
    format!("{put_right}otherwise than the last deploy made it: {count}; {next}")
}

/// What is otherwise, for people.
fn lines(drifts: &[Drift]) -> String {
    let mut lines = Vec::new();
    for drift in drifts {
        lines.push(format!("{:<8} {}", drift.class.word(), drift.object));
        for field in &drift.fields {
            let change = match drift.class {
                Class::Foreign => worded(&field.theirs),
                _ => format!("{} -> {}", worded(&field.ours), worded(&field.theirs)),
            };
            lines.push(format!("    {}: {change}{}", field.path, by(field)));
        }
        lines.extend(drift.unfixable.as_ref().map(|why| format!("    cannot be put right: {why}")));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn table(drifts: &[Drift]) -> Table {
    let mut table = Table::new(["class", "object", "field", "ours", "theirs", "manager", "since"]);
    for drift in drifts {
        let (class, object) = (drift.class.word().to_owned(), drift.object.clone());
        if drift.fields.is_empty() {
            let nothing = ["", "", "", "", ""].map(str::to_owned);
            table.row([class, object].into_iter().chain(nothing));
            continue;
        }
        for field in &drift.fields {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            table.row([
                class.clone(),
                object.clone(),
                field.path.clone(),
                worded(&field.ours),
                worded(&field.theirs),
                text(&field.manager),
                text(&field.since),
            ]);
        }
    }
    table
}

fn worded(value: &Option<Value>) -> String {
    match value {
        None => "(nothing)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

fn by(field: &Field) -> String {
    match (&field.manager, &field.since) {
        (Some(manager), Some(since)) => format!("  ({manager}, {since})"),
        (Some(manager), None) => format!("  ({manager})"),
        _ => String::new(),
    }
}

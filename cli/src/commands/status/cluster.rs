//! How the shop in a namespace of a cluster is.

use std::collections::BTreeMap;

use platform::vocabulary::Timestamp;
use platform::vocabulary::clock::since;
use serde_json::json;

use super::{LOOK_EVERY, StatusArgs};
use crate::cluster::chart::Chart;
use crate::cluster::connect::Cluster;
use crate::cluster::lock;
use crate::cluster::mirror::{KINDS, Mirror};
use crate::cluster::object::{Key, Object};
use crate::cluster::overview::{Overview, Part, Service, Sight, overview};
use crate::cluster::release::shop::ShopState;
use crate::cluster::state::Stored;
use crate::commands::duration::short;
use crate::commands::errand::failed;
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::output::{Body, Format, Progress, Report, Table};
use crate::targets::kubernetes::{self, rendering};

/// Kinds that are looked at besides those of a deploy.
const MORE: &[(&str, &str)] = &[("networking.k8s.io/v1", "Ingress"), ("v1", "ConfigMap")];
/// Letters of an image that a column has room for.
const IMAGE_LETTERS: usize = 40;

pub(super) fn run(args: &StatusArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    let settings = context.config()?.kubernetes(variable)?;
    context.runtime()?.block_on(async {
        let cluster = kubernetes::connect(&settings, &context.env).await?;
        if args.watch {
            return watch(&cluster, context).await;
        }
        let seen = seen(&cluster).await?.ok_or_else(|| nothing(&cluster))?;
        let report = report(&seen, &cluster, context);
        context.printer.report(&report)?;
        Ok(report.exit_code())
    })
}

/// How the shop is now; none when there is none.
pub(in crate::commands) async fn seen(cluster: &Cluster) -> anyhow::Result<Option<Overview>> {
    let mut objects = BTreeMap::new();
    for kind in KINDS.iter().filter(|(_, kind)| *kind != "Event") {
        let found = cluster.api.list(*kind, cluster.namespace(), "").await;
        let found = found.map_err(|error| cluster.refused(error, "look at the shop"))?;
        objects.extend(found.into_iter().map(|object| (object.key().clone(), object)));
    }
    look(cluster, objects).await
}

/// What is to be seen in `objects`, with what no mirror follows.
async fn look(cluster: &Cluster, mut objects: BTreeMap<Key, Object>) -> anyhow::Result<Option<Overview>> {
    let (api, namespace) = (&cluster.api, cluster.namespace());
    for kind in MORE {
        // Where these may not be seen, less is told.
        let found = api.list(*kind, namespace, "").await.unwrap_or_default();
        objects.extend(found.into_iter().map(|object| (object.key().clone(), object)));
    }
    let stored = Stored::<ShopState>::load(api, namespace).await.map_err(|error| failed(error.into()))?;
    let holder = lock::holder(api, namespace).await;
    let holder = holder.map_err(|error| cluster.refused(error, "look at the lock"))?;
    let services = rendering::services(Chart::embedded())?;
    Ok(overview(&Sight { services: &services, shop: &stored.value, objects: &objects, holder, namespace }))
}

fn nothing(cluster: &Cluster) -> Failure {
    let environment = &cluster.place.environment;
    let message = format!("there is no shop in the namespace {}", cluster.namespace());
    Failure::new(Exit::Unreachable, "E-NOT-RUNNING", message)
        .object(format!("context {}", cluster.place.context))
        .hint(format!("bring one there with `shopctl up -e {environment}`"))
}

fn report(seen: &Overview, cluster: &Cluster, context: &Context<'_>) -> Report {
    let now = context.env.now();
    let environment = &cluster.place.environment;
    let mut data = json!(seen);
    data["running"] = true.into();
    data["namespace"] = cluster.namespace().into();
    data["context"] = cluster.place.context.clone().into();
    data["cluster_version"] = cluster.version.clone().into();
    for wrong in data["wrong"].as_array_mut().into_iter().flatten() {
        let command =
            format!("shopctl why {} -e {environment}", wrong["object"].as_str().unwrap_or_default());
        wrong["next"] = command.into();
    }
    let table = table(&seen.services, now);
    let body = match context.printer.format() {
        Format::Csv | Format::Md => Body::Table(table),
        _ => {
            let mut text = table.draw(context.printer.terminal().columns);
            text.push('\n');
            for (name, value) in facts(seen, environment) {
                text.push_str(&format!("{}  {value}\n", context.printer.paint().bold(&format!("{name:<8}"))));
            }
            Body::Text(text)
        }
    };
    let report = Report::new(data, body);
    if seen.is_ready { report } else { report.exit(Exit::Degraded) }
}

fn table(services: &[Service], now: Timestamp) -> Table {
    let columns = ["service", "slot", "revision", "image", "ready", "restarts", "release", "age"];
    let mut table = Table::new(columns);
    for service in services {
        let scaled = if service.is_autoscaled { " auto" } else { "" };
        table.row([
            service.name.clone(),
            service.slot.to_string(),
            service.revision.map(|number| number.to_string()).unwrap_or_default(),
            image(&service.image),
            format!("{}/{}{scaled}", service.ready, service.wanted),
            service.restarts.to_string(),
            service.phase.clone().unwrap_or_else(|| "–".to_owned()),
            service.since.map(|at| short(since(at, now))).unwrap_or_default(),
        ]);
    }
    table
}

/// The end of an image's name, which tells one from the other.
fn image(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name);
    let (name, digest) = name.split_once("@sha256:").unwrap_or((name, ""));
    let whole = if digest.is_empty() { name.to_owned() } else { format!("{name}@{digest:.12}") };
    whole.chars().take(IMAGE_LETTERS).collect()
}

fn facts(seen: &Overview, environment: &str) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("shop", if seen.is_ready { "ready" } else { "not ready" }.to_owned()),
        ("database", part(&seen.database)),
        ("provider", part(&seen.provider)),
        (
            "lock",
            match &seen.lock {
                None => "nobody holds it".to_owned(),
                Some(holder) => format!("{} since {}: {}", holder.who, holder.since, holder.command),
            },
        ),
    ];
    facts.extend(seen.addresses.iter().map(|address| ("address", address.clone())));
    facts.push(("open", format!("shopctl open storefront -e {environment}")));
    for wrong in &seen.wrong {
        let next =
            format!("{}: {} (shopctl why {} -e {environment})", wrong.object, wrong.says, wrong.object);
        facts.push(("wrong", next));
    }
    facts
}

fn part(part: &Part) -> String {
    let Some(workload) = &part.workload else {
        return part.elsewhere.clone().unwrap_or_else(|| "somewhere else".to_owned());
    };
    let state = if part.is_ready == Some(true) { "ready" } else { "not ready" };
    format!("{workload} of the chart, {state} · restarts {}", part.restarts)
}

/// Repaints on a terminal; elsewhere says a line when something changed.
async fn watch(cluster: &Cluster, context: &Context<'_>) -> anyhow::Result<Exit> {
    let printer = context.printer;
    let kinds: Vec<_> = KINDS.iter().filter(|(_, kind)| *kind != "Event").copied().collect();
    let mirror = Mirror::of(&cluster.api, cluster.namespace(), &kinds).await;
    let mut mirror = mirror.map_err(|error| cluster.refused(error, "look at the shop"))?;
    let mut progress = Progress::new(printer);
    let mut last = String::new();
    let mut interrupted = context.interrupts()?;
    loop {
        let objects = mirror.look(Clone::clone);
        let (seen, line) = match look(cluster, objects).await {
            Ok(Some(seen)) => {
                let line = line(&seen);
                (Some(seen), line)
            }
            Ok(None) => (None, nothing(cluster).to_string()),
            Err(error) => match error.downcast_ref::<Failure>() {
                Some(failure) if failure.exit() == Exit::Unreachable => (None, failure.to_string()),
                _ => return Err(error),
            },
        };
        if progress.is_animated() {
            let painted = match &seen {
                Some(seen) => match report(seen, cluster, context).body {
                    Body::Text(text) => format!("\n{text}"),
                    _ => line,
                },
                None => line,
            };
            progress.line(&painted);
        } else if line != last {
            match printer.format() {
                Format::Text | Format::Csv | Format::Md => printer.data(&format!("{line}\n"))?,
                Format::Json | Format::Ndjson => {
                    let data = seen.as_ref().map(|seen| report(seen, cluster, context).data);
                    let data = data.unwrap_or_else(|| json!({"running": false, "ready": false}));
                    printer.data(&format!("{data}\n"))?;
                }
            }
            last = line;
        }
        tokio::select! {
            () = async {
                // Many changes that come together are one look.
                mirror.changed(LOOK_EVERY * 5).await;
                tokio::time::sleep(LOOK_EVERY / 4).await;
            } => {}
            _ = interrupted.recv() => return Ok(Exit::Interrupted),
        }
    }
}

/// The shop in a line.
fn line(seen: &Overview) -> String {
    let state = if seen.is_ready { "ready" } else { "not ready" };
    let mut parts = vec![state.to_owned()];
    for service in &seen.services {
        let revision = service.revision.map(|number| format!(" r{number}")).unwrap_or_default();
        let phase = service.phase.as_ref().map(|phase| format!(" {phase}")).unwrap_or_default();
        parts.push(format!(
            "{} {}{revision} {}/{}{phase}",
            service.name, service.slot, service.ready, service.wanted
        ));
    }
    let restarts: u64 = seen.services.iter().map(|service| service.restarts).sum();
    parts.push(format!("restarts {restarts}"));
    parts.extend(seen.lock.as_ref().map(|holder| format!("locked by {}", holder.who)));
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::image;

    #[test]
    fn an_image_is_told_by_its_end() {
        assert_eq!(image("registry.example.com:5000/acme/shop:1.4"), "shop:1.4");
        assert_eq!(image(&format!("ghcr.io/acme/shop@sha256:{}", "ab".repeat(32))), "shop@abababababab");
    }
}

//! Brings the shop onto its cluster and waits until all of it is ready: the same as a deploy, from nothing or from an older
//! version, with an image that is made when none is named.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::UpArgs;
use crate::cluster::connect::Cluster;
use crate::cluster::object::Object;
use crate::commands::changing::{awaited, until_well};
use crate::commands::deploy::{DeployArgs, bring_out};
use crate::commands::duration::Span;
use crate::commands::errand::connect;
use crate::commands::{errand, image, status};
use crate::config::KubernetesSettings;
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::image::folder;
use crate::image::reference::Reference;
use crate::image::registry::Line;
use crate::image::stored::Stored;
use crate::output::{Progress, Report};
use crate::targets::kubernetes::{Danger, rendering};

/// How long it may take, unless somebody says otherwise.
const TIMEOUT: Span = Span::seconds(600);
/// The pages that a newcomer looks for, below the shop's address.
const PAGES: [(&str, &str); 3] = [("storefront", "/"), ("admin", "/admin"), ("operations", "/operations")];
/// Who may do everything in a new shop.
const ADMIN: &str = "admin@shop.local";

pub(super) fn run(args: &UpArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    let settings = context.config()?.kubernetes(variable)?;
    let report = context.runtime()?.block_on(up(args, &settings, context))?;
    context.printer.report(&report)?;
    Ok(report.exit_code())
}

async fn up(args: &UpArgs, settings: &KubernetesSettings, context: &Context<'_>) -> anyhow::Result<Report> {
    let began = Instant::now();
    let cluster = connect(settings, context).await?;
    let what = format!("bringing the shop onto {}", settings.environment);
    args.consent.to(&what, Danger::Moderate, settings, context.printer)?;
    let image = image_for(args, settings, context).await?;
    let timeout = args.timeout.unwrap_or(TIMEOUT);
    let lock_wait = args.lock_wait.unwrap_or(Span::seconds(0));
    let wish = DeployArgs::of_all(image.clone(), timeout, lock_wait, args.consent.clone());
    let deployed = bring_out(&wish, &cluster, settings, context).await?;
    if !deployed.is_good() {
        return Ok(errand::report(&deployed, began.elapsed()));
    }
    // The deploy has listened for signals, and from then on nobody else does.
    tokio::select! {
        all = until_all_ready(&cluster, timeout.duration(), context) => all?,
        _ = tokio::signal::ctrl_c() => {
            return Err(Failure::new(Exit::Interrupted, "E-INTERRUPTED", "stopped waiting")
                .hint(format!("it goes on by itself: `shopctl status -e {}`", settings.environment))
                .into());
        }
    }
    welcome(&cluster, image.as_deref(), began.elapsed()).await
}

/// The image to bring out; none leaves it to the values.
async fn image_for(
    args: &UpArgs,
    settings: &KubernetesSettings,
    context: &Context<'_>,
) -> anyhow::Result<Option<String>> {
    if let Some(image) = args.image.as_ref().or(settings.image.as_ref()) {
        return Ok(Some(image.clone()));
    }
    if rendering::names_image(settings)? {
        return Ok(None);
    }
    let environment = &settings.environment;
    let Some(registry) = &settings.registry else {
        let message =
            format!("the environment `{environment}` names no image, and no registry to push one to");
        return Err(Failure::new(Exit::Config, "E-NO-IMAGE", message)
            .hint(format!("put `image = \"registry.example.com/shop:1.4\"` into [env.{environment}], or `registry = \"registry.example.com\"` to have one built and pushed"))
            .into());
    };
    let mut progress = Progress::new(context.printer);
    let (image, version) = image::from_sources(&mut progress).map_err(|error| {
        let message = format!("the environment `{environment}` names no image, and none could be built");
        match error.downcast::<Failure>() {
            // Who has no sources has to name one.
            Ok(failure) if failure.exit() == Exit::Usage => Failure::new(Exit::Config, "E-NO-IMAGE", message)
                .hint(format!("put `image = \"{registry}/shop:VERSION\"` into [env.{environment}], or run this among the sources"))
                .because(anyhow::Error::msg(failure.to_string()))
                .into(),
            Ok(failure) => failure.into(),
            Err(other) => other,
        }
    })?;
    let reference: Reference = format!("{registry}/shop:{version}").parse().map_err(|error| {
        Failure::new(Exit::Config, "E-REGISTRY", format!("`{registry}` is no registry: {error}"))
            .hint("write REGISTRY/PATH, as ghcr.io/acme")
    })?;
    let place = tempfile::tempdir()?;
    folder::save(&image, &reference, place.path())?;
    let stored = Stored::open(place.path())?;
    let pushed = image::carry(&stored, &reference, Line::new(None)?, false, &mut progress).await?;
    progress.clear();
    context.printer.say(&format!("the image is {}", pushed.by_digest));
    Ok(Some(pushed.by_digest))
}

/// Waits for every workload of the shop, those of no release too: the database, the provider, the metrics.
async fn until_all_ready(cluster: &Cluster, at_most: Duration, context: &Context<'_>) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for kind in ["StatefulSet", "Deployment"] {
        let found = cluster
            .api
            .list(("apps/v1", kind), cluster.namespace(), "app.kubernetes.io/part-of=shop")
            .await
            .map_err(|error| cluster.refused(error, "look at the shop"))?;
        let is_wanted = |one: &&Object| one.number("/spec/replicas") != Some(0);
        all.extend(found.iter().filter(is_wanted).map(|one| awaited(cluster, kind, one.name(), None)));
    }
    until_well(cluster, &all, at_most, &|| false, context).await
}

async fn welcome(cluster: &Cluster, image: Option<&str>, took: Duration) -> anyhow::Result<Report> {
    let (environment, namespace) = (&cluster.place.environment, cluster.namespace());
    let seen = status::cluster::seen(cluster).await?;
    let (is_ready, addresses) = seen.map_or((false, Vec::new()), |seen| (seen.is_ready, seen.addresses));
    let open = format!("shopctl open storefront -e {environment}");
    let kubeconfig = cluster.place.kubeconfig.as_ref();
    let kubeconfig = kubeconfig.map(|path| format!(" --kubeconfig {}", path.display())).unwrap_or_default();
    let password = format!(
        "kubectl{kubeconfig} --context {} -n {namespace} get secret {} -o jsonpath='{{.data.password}}' | base64 -d",
        cluster.place.context,
        admin_secret(cluster).await?
    );
    let mut facts = vec![("shop", if is_ready { "ready" } else { "not ready" }.to_owned())];
    match addresses.first() {
        Some(address) => facts.extend(PAGES.map(|(page, path)| (page, format!("{address}{path}")))),
        None => facts.push(("address", format!("http://gateway.{namespace} inside the cluster"))),
    }
    facts.push(("open", open.clone()));
    facts.push(("admin", ADMIN.to_owned()));
    facts.push(("password", password.clone()));
    facts.push(("took", format!("{:.1} s", took.as_secs_f64())));
    let data = json!({
        "ready": is_ready,
        "image": image,
        "namespace": namespace,
        "addresses": addresses,
        "open": open,
        "admin": {"email": ADMIN, "password_command": password},
        "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    });
    let next = format!(
        "`shopctl status -e {environment}`, `shopctl logs -f -e {environment}`, `shopctl down -e {environment}`"
    );
    let report = Report::facts(data, facts).after_events().last_line(next);
    Ok(if is_ready { report } else { report.exit(Exit::Degraded) })
}

/// The Secret with the admin's password: the one that the tables' Job read it from.
async fn admin_secret(cluster: &Cluster) -> anyhow::Result<String> {
    let jobs = cluster
        .api
        .list(("batch/v1", "Job"), cluster.namespace(), "app.kubernetes.io/component=prepare")
        .await
        .map_err(|error| cluster.refused(error, "look at the tables' Job"))?;
    let volumes = jobs.iter().filter_map(|job| job.at("/spec/template/spec/volumes")?.as_array()).flatten();
    let name = volumes
        .filter(|volume| volume["name"] == "admin")
        .find_map(|volume| volume.pointer("/secret/secretName").and_then(Value::as_str));
    Ok(name.unwrap_or("shop-admin").to_owned())
}

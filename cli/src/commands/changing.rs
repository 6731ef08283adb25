//! What the commands share that change the pods of services which run: which workloads are meant, and the wait until they
//! are well again.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::chart::Chart;
use crate::cluster::connect::Cluster;
use crate::cluster::mirror::{KINDS, Mirror};
use crate::cluster::object::Key;
use crate::cluster::release::causes;
use crate::cluster::release::shop::ShopState;
use crate::cluster::rollout::Slot;
use crate::cluster::settle::{Awaited, Patience, Settled, settle};
use crate::cluster::state::Stored;
use crate::commands::errand::failed;
use crate::context::Context;
use crate::failure::{Exit, Failure, nearest};
use crate::output::Format;
use crate::targets::kubernetes::rendering;

/// So many causes of a failure are told.
const CAUSES_TOLD: usize = 3;

/// The live slot of a service.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// The service.
    pub(super) service: String,
    /// Its Deployment: `order-a`.
    pub(super) name: String,
    /// The revision that is live.
    pub(super) revision: u64,
}

/// Goes on when all of `services` are services of the shop, and none is named twice.
pub(super) fn known(services: &[String]) -> Result<(), Failure> {
    let known = rendering::services(Chart::embedded())?;
    for (at, service) in services.iter().enumerate() {
        one_of(&known, service, Exit::Usage, "there is no service")?;
        if services[..at].contains(service) {
            return Err(Failure::new(Exit::Usage, "E-SERVICE", format!("`{service}` is named twice")));
        }
    }
    Ok(())
}

/// Goes on when `service` is one of `known`; else ends with `exit` and says `what`.
pub(super) fn one_of(known: &[String], service: &str, exit: Exit, what: &str) -> Result<(), Failure> {
    if known.iter().any(|one| one == service) {
        return Ok(());
    }
    let near = nearest(service, known.iter().map(String::as_str));
    Err(Failure::new(exit, "E-SERVICE", format!("{what} `{service}`")).hint(match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("services: {}", known.join(", ")),
    }))
}

/// The live slots of `services`, none of which is in the middle of a release.
pub(super) async fn live(cluster: &Cluster, services: &[String]) -> anyhow::Result<Vec<Live>> {
    let stored = Stored::<ShopState>::load(&cluster.api, cluster.namespace()).await;
    let shop = stored.map_err(|error| failed(error.into()))?.value;
    let environment = &cluster.place.environment;
    let mut found = Vec::new();
    for service in services {
        let state = shop.service(service);
        if let Some(release) = state.unfinished().filter(|release| !release.is_released()) {
            let message =
                format!("a release of {service} goes on, and is in its phase `{}`", release.phase());
            return Err(Failure::new(Exit::Conflict, "E-RELEASE", message)
                .hint(format!("bring it to its end first: `shopctl deploy -e {environment}`, or `shopctl rollout abort {service} -e {environment}`"))
                .into());
        }
        let Some(revision) = state.revision else {
            let message = format!("{service} does not run in the namespace {}", cluster.namespace());
            return Err(Failure::new(Exit::Unreachable, "E-NOT-RUNNING", message)
                .hint(format!("bring the shop there with `shopctl up -e {environment}`"))
                .into());
        };
        found.push(Live { service: service.clone(), name: format!("{service}-{}", state.live), revision });
    }
    Ok(found)
}

/// The workload `name` of kind Deployment or StatefulSet as it is waited for.
pub(super) fn awaited(cluster: &Cluster, kind: &str, name: &str, generation: Option<i64>) -> Awaited {
    let key = Key {
        group: "apps".to_owned(),
        kind: kind.to_owned(),
        namespace: cluster.namespace().to_owned(),
        name: name.to_owned(),
    };
    Awaited { key, generation }
}

/// The event that `object` is waited for. A workload is called by its service and its slot; one without a slot is a unit of
/// its own.
fn waits(object: &Key, why: &str) -> Value {
    let unit = Slot::ALL.into_iter().find_map(|slot| object.name.strip_suffix(&format!("-{slot}")));
    json!({
        "event": "waits",
        "unit": unit.unwrap_or(&object.name),
        "object": object.to_string(),
        "waits_for": why,
    })
}

/// Waits until all of `awaited` are what was asked for.
pub(super) async fn until_well(
    cluster: &Cluster,
    awaited: &[Awaited],
    at_most: Duration,
    is_stopped: &dyn Fn() -> bool,
    context: &Context<'_>,
) -> anyhow::Result<()> {
    let mirror = Mirror::of(&cluster.api, cluster.namespace(), KINDS).await;
    let mut mirror = mirror.map_err(|error| cluster.refused(error, "look at the namespace"))?;
    let tell = |object: &Key, why: &str| {
        if context.printer.format() == Format::Ndjson {
            // A reader that went away is noticed when the result is printed.
            context.printer.event(&waits(object, why)).ok();
        } else {
            context.printer.say(&format!("{}: {why}", object.name));
        }
    };
    let patience = Patience { at_most, is_stopped, tell: &tell };
    let environment = &cluster.place.environment;
    let (object, message, exit) = match settle(&mut mirror, &context.env, awaited, &patience).await {
        Settled::Well => return Ok(()),
        Settled::Stopped => {
            return Err(Failure::new(Exit::Interrupted, "E-INTERRUPTED", "stopped waiting")
                .hint(format!("it goes on by itself: `shopctl status -e {environment}`"))
                .into());
        }
        Settled::Hopeless { object, why } => {
            let message = format!("{} does not get well: {why}", object.name);
            (object, message, Exit::Degraded)
        }
        Settled::Late { object, why } => {
            let message = format!("{} is not well after {} s: {why}", object.name, at_most.as_secs());
            (object, message, Exit::Timeout)
        }
    };
    let causes = causes::of(cluster, &mirror, &object).await;
    let told: Vec<String> = causes.iter().take(CAUSES_TOLD).map(ToString::to_string).collect();
    let failure = Failure::new(exit, "E-NOT-WELL", message).object(&object).hint(format!(
        "see `shopctl why {} -e {environment}`; pods that were ready before still serve",
        object.name
    ));
    Err(if told.is_empty() { failure } else { failure.picture(told.join("\n")) }.into())
}

//! What others changed of a shop on its cluster, found and put right: each object as the last deploy made it beside what is
//! there.
//!
//! A service whose release is in the middle is left out: what is to be there is then for the release to say. So is the Job
//! that brought the tables up to date, which has done its work and may be gone.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::cluster::api::ApiError;
use crate::cluster::apply::{ApplyError, Consent, Did};
use crate::cluster::applyset::ApplySet;
use crate::cluster::connect::Cluster;
use crate::cluster::drift::{Class, Drift, of, removals, with_values};
use crate::cluster::object::{Key, Object};
use crate::cluster::release::desired::{ServiceObjects, revision_of, selector_of};
use crate::cluster::release::record::Record;
use crate::cluster::release::shop::{ServiceState, ShopState};
use crate::cluster::release::{Event, ReleaseError, Talk, shared};
use crate::cluster::revision::{self, RevisionError};
use crate::cluster::rollout::{Selector, Slot};
use crate::cluster::workload::{self, AUTOSCALER, DEPLOYMENT};

/// Objects that are looked at at the same time.
const AT_ONCE: usize = 8;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// What is otherwise, in the order of applying; what is there too much comes last.
    pub drifts: Vec<Drift>,
    /// The services that were not looked at, and why.
    pub left_out: Vec<(String, String)>,
}

/// A workload that was put right, and the generation that says so.
pub type Touched = (Key, Option<i64>);

/// An object as it is to be.
struct Wanted {
    object: Object,
    /// Whether it is fine when it is not there.
    may_lack: bool,
    /// How many pods it begins with when it is made again.
    pods: Option<u32>,
}

impl Wanted {
    fn new(object: Object) -> Self {
        Self { object, may_lack: false, pods: None }
    }
}

/// All that is to be there.
#[derive(Default)]
struct Expected {
    wanted: Vec<Wanted>,
    /// All that is not too much: of both slots, too.
    members: Vec<Object>,
    left_out: Vec<(String, String)>,
}

/// Looks for what is otherwise than `record` and the revisions that `shop` names have it.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn find(cluster: &Cluster, shop: &ShopState, record: &Record) -> Result<Found, ReleaseError> {
    let expected = expected(cluster, shop, record).await?;
    let looks = stream::iter(&expected.wanted).map(|wanted| look(cluster, wanted)).buffered(AT_ONCE);
    let looks: Vec<Vec<Drift>> = looks.try_collect().await?;
    let mut drifts: Vec<Drift> = looks.into_iter().flatten().collect();
    for object in extra(cluster, &expected.members).await? {
        drifts.push(Drift::new(object.key(), Class::Extra, Vec::new()));
    }
    Ok(Found { drifts, left_out: expected.left_out })
}

/// What is too much, in the order in which it goes.
async fn extra(cluster: &Cluster, members: &[Object]) -> Result<Vec<Object>, ApiError> {
    let set = ApplySet::find(&cluster.api, cluster.namespace()).await?;
    let mut found = set.leftovers(&cluster.api, members).await?;
    // A controller that copies labels to what it makes takes that away itself.
    found.retain(|object| object.at("/metadata/ownerReferences/0").is_none() && !is_preparation(object));
    Ok(found)
}

async fn expected(cluster: &Cluster, shop: &ShopState, record: &Record) -> Result<Expected, ReleaseError> {
    let made = &record.made;
    let mut expected = Expected::default();
    expected.wanted.extend(made.shared.iter().cloned().map(Wanted::new));
    expected.members.extend(made.shared.iter().cloned());
    for objects in made.services.values() {
        expected
            .members
            .extend(objects.service.iter().chain(&objects.preview).chain(&objects.slots).cloned());
    }
    for (service, state) in &shop.services {
        let released = released(cluster, service, state).await?;
        let nothing = ServiceObjects::default();
        let objects = made.services.get(service).unwrap_or(&nothing);
        match released {
            Ok(slots) => {
                expected.members.extend(slots.iter().flat_map(|(_, _, kept)| kept.kept()));
                of_service(cluster, service, state, objects, &slots, &mut expected.wanted).await?;
            }
            Err(why) => {
                // Whatever its release has made is not too much.
                expected.members.extend(both_slots(cluster, service).await?);
                expected.left_out.push((service.clone(), why));
            }
        }
    }
    expected.wanted.sort_by(|one, other| {
        let order = |wanted: &Wanted| (wanted.object.place(), wanted.object.key().clone());
        order(one).cmp(&order(other))
    });
    Ok(expected)
}

/// What each slot of `service` runs, the live one first; else why that cannot be said.
async fn released(
    cluster: &Cluster,
    service: &str,
    state: &ServiceState,
) -> Result<Result<Vec<(Slot, u64, ServiceObjects)>, String>, ReleaseError> {
    let (api, namespace) = (&cluster.api, cluster.namespace());
    if let Some(release) = state.unfinished().filter(|release| !release.is_released()) {
        return Ok(Err(format!("a release goes on, and is in its phase `{}`", release.phase())));
    }
    let Some(live) = state.revision else { return Ok(Err("it was never brought out".to_owned())) };
    let idle = state.live.other();
    let idle_now = api.get(DEPLOYMENT, namespace, &format!("{service}-{idle}")).await?;
    let idle_revision = idle_now.as_ref().and_then(revision_of);
    let mut slots = Vec::new();
    for (slot, number) in [(state.live, Some(live)), (idle, idle_revision)] {
        let Some(number) = number else { continue };
        match revision::objects(api, namespace, service, number).await {
            Ok(objects) => slots.push((slot, number, ServiceObjects::of_slots(objects))),
            Err(RevisionError::Unreadable { .. }) if slot == state.live => {
                return Ok(Err(format!("what was rendered for its revision {number} cannot be read")));
            }
            // An idle slot whose revision was forgotten is what it is.
            Err(RevisionError::Unreadable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Ok(slots))
}

async fn both_slots(cluster: &Cluster, service: &str) -> Result<Vec<Object>, ApiError> {
    let mut found = Vec::new();
    for slot in Slot::ALL {
        let name = format!("{service}-{slot}");
        for kind in [DEPLOYMENT, ("v1", "ConfigMap"), AUTOSCALER] {
            found.extend(cluster.api.get(kind, cluster.namespace(), &name).await?);
        }
    }
    Ok(found)
}

async fn of_service(
    cluster: &Cluster,
    service: &str,
    state: &ServiceState,
    made: &ServiceObjects,
    slots: &[(Slot, u64, ServiceObjects)],
    wanted: &mut Vec<Wanted>,
) -> Result<(), ReleaseError> {
    let (api, namespace) = (&cluster.api, cluster.namespace());
    if made.service.is_some() {
        let at_rest = Selector::Narrow(state.live);
        let selector = match state.unfinished() {
            None => at_rest,
            // A release that is watched may be on its way back.
            Some(_) => {
                let live = api.get(("v1", "Service"), namespace, service).await?;
                live.as_ref().and_then(selector_of).unwrap_or(at_rest)
            }
        };
        wanted.push(Wanted::new(made.service(service, selector)?));
    }
    if let Some(preview) = &made.preview {
        // It stays over the slot that was tried last.
        let live = api.get(("v1", "Service"), namespace, preview.name()).await?;
        let slot = Slot::ALL.into_iter().find(|slot| {
            let rendered = made.preview(service, *slot);
            rendered.as_ref().and_then(|one| one.at("/spec/selector"))
                == live.as_ref().and_then(|one| one.at("/spec/selector"))
        });
        wanted.extend(made.preview(service, slot.unwrap_or(state.live.other())).map(Wanted::new));
    }
    for (slot, number, objects) in slots {
        let may_lack = *slot != state.live;
        let pods = if may_lack { Some(0) } else { objects.replicas() };
        let map = objects.of(*slot, "ConfigMap").cloned();
        let deployment = objects.deployment(service, *slot, *number)?;
        wanted.extend(map.map(|object| Wanted { object, may_lack, pods: None }));
        wanted.push(Wanted { object: deployment, may_lack, pods });
    }
    // While a release is watched the autoscaler may not be there yet.
    let may_lack = state.unfinished().is_some();
    let scaler = made.of(state.live, AUTOSCALER.1).cloned();
    wanted.extend(scaler.map(|object| Wanted { object, may_lack, pods: None }));
    Ok(())
}

async fn look(cluster: &Cluster, wanted: &Wanted) -> Result<Vec<Drift>, ReleaseError> {
    let (api, namespace) = (&cluster.api, cluster.namespace());
    let object = &wanted.object;
    let kind = (object.api_version(), object.kind());
    let Some(live) = api.get(kind, &object.key().namespace, object.name()).await? else {
        return Ok(if wanted.may_lack { Vec::new() } else { vec![missing(object)] });
    };
    let (ours, lost) = with_values(object, &live);
    let mut found = Vec::new();
    if !lost.is_empty() {
        found.push(Drift::new(object.key(), Class::Changed, lost).unfixable("its values are nowhere else"));
    }
    match shared::apply_one(api, namespace, &ours, Consent { takes_over: true }, true).await {
        Ok((after, _)) => found.extend(of(&ours, &live, &after)),
        // It was made anew by somebody with what may not be changed.
        Err(ReleaseError::Apply(ApplyError::Refused { error, .. })) if error.code() == Some(422) => {
            let why = format!("the cluster does not let it become what it was: {error}");
            found.push(Drift::new(object.key(), Class::Changed, Vec::new()).unfixable(why));
        }
        Err(error) => return Err(error),
    }
    Ok(found)
}

/// A Secret that is gone has nothing that it could be made of again.
fn missing(object: &Object) -> Drift {
    let drift = Drift::new(object.key(), Class::Missing, Vec::new());
    let has_values =
        object.at("/data").is_some_and(|data| data.as_object().is_some_and(|data| !data.is_empty()));
    if object.kind() == "Secret" && has_values {
        drift.unfixable("its values are nowhere else")
    } else {
        drift
    }
}

/// Puts right what of `shown` is still so, as far as it can be; what is too much only when `prunes`.
///
/// # Errors
/// When somebody asks to stop; when the cluster refuses or does not answer. What was put right stays so.
pub async fn fix(
    cluster: &Cluster,
    shop: &ShopState,
    record: &Record,
    shown: &[Drift],
    prunes: bool,
    must_stop: &dyn Fn() -> Result<(), ReleaseError>,
    talk: Talk<'_>,
) -> Result<Vec<Touched>, ReleaseError> {
    let expected = expected(cluster, shop, record).await?;
    let mut touched = Vec::new();
    for wanted in &expected.wanted {
        let key = wanted.object.key();
        let mine: Vec<&Drift> =
            shown.iter().filter(|drift| drift.key == *key && drift.unfixable.is_none()).collect();
        if mine.is_empty() {
            continue;
        }
        must_stop()?;
        if mine.iter().any(|drift| matches!(drift.class, Class::Missing | Class::Changed)) {
            touched.extend(restore(cluster, wanted, talk).await?);
        }
        for drift in mine.iter().filter(|drift| drift.class == Class::Foreign) {
            touched.extend(remove(cluster, &wanted.object, drift, talk).await?);
        }
    }
    if prunes {
        let too_much: BTreeSet<&Key> =
            shown.iter().filter(|drift| drift.class == Class::Extra).map(|drift| &drift.key).collect();
        for object in extra(cluster, &expected.members).await? {
            if too_much.contains(object.key()) {
                must_stop()?;
                let kind = (object.api_version(), object.kind());
                cluster.api.delete(kind, &object.key().namespace, object.name(), object.uid()).await?;
                talk(Event::Pruned { object: object.key().to_string() });
            }
        }
    }
    Ok(touched)
}

async fn restore(
    cluster: &Cluster,
    wanted: &Wanted,
    talk: Talk<'_>,
) -> Result<Option<Touched>, ReleaseError> {
    let (api, namespace) = (&cluster.api, cluster.namespace());
    let object = &wanted.object;
    let kind = (object.api_version(), object.kind());
    let live = api.get(kind, &object.key().namespace, object.name()).await?;
    let ours = live.as_ref().map_or_else(|| object.clone(), |live| with_values(object, live).0);
    let (now, did) = shared::apply_one(api, namespace, &ours, Consent { takes_over: true }, false).await?;
    if did != Did::Nothing {
        talk(Event::Applied { object: object.key().to_string(), did });
    }
    let mut generation = now.number("/metadata/generation");
    if let (None, Some(pods)) = (live, wanted.pods) {
        generation = workload::scale(api, namespace, object.name(), pods).await?;
    }
    Ok(is_workload(object).then(|| (object.key().clone(), generation)))
}

async fn remove(
    cluster: &Cluster,
    ours: &Object,
    shown: &Drift,
    talk: Talk<'_>,
) -> Result<Option<Touched>, ReleaseError> {
    let kind = (ours.api_version(), ours.kind());
    let namespace = &ours.key().namespace;
    let Some(live) = cluster.api.get(kind, namespace, ours.name()).await? else { return Ok(None) };
    let removals = removals(ours, &live, &shown.fields);
    let operations: Vec<_> = removals.iter().flat_map(|(.., operations)| operations).cloned().collect();
    if operations.is_empty() {
        return Ok(None);
    }
    let now = cluster.api.amend(kind, namespace, ours.name(), &operations.into()).await?;
    for (path, manager, _) in removals {
        talk(Event::Removed { object: ours.key().to_string(), path, manager });
    }
    Ok(is_workload(ours).then(|| (ours.key().clone(), now.number("/metadata/generation"))))
}

/// Whether it brought tables up to date: a deploy takes that of older images away, once all is well.
fn is_preparation(object: &Object) -> bool {
    object.label("app.kubernetes.io/component") == Some("prepare")
        && matches!(object.kind(), "Job" | "ConfigMap")
}

fn is_workload(object: &Object) -> bool {
    matches!(object.kind(), "Deployment" | "StatefulSet")
}

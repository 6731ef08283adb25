//! What makes pods: Deployments, ReplicaSets, StatefulSets, DaemonSets and Jobs.

use serde_json::Value;

use super::cause::{Cause, Reason, Trail};
use super::explain::waiting;
use super::snapshot::Snapshot;
use super::{advice, pods, surroundings};
use crate::cluster::object::Object;
use crate::cluster::readiness::{Status, condition, containers, is_quota, new_replica_set, status};

/// A Deployment's causes are those of its ReplicaSets, the new one first.
pub(super) fn deployment(snapshot: &Snapshot, object: &Object, trail: &Trail) -> Vec<Cause> {
    let status = status(object, None);
    let here = match &status {
        Status::Failed { .. } => trail.to(object, "no progress"),
        _ => trail.to(object, &status),
    };
    let new = new_replica_set(object, &snapshot.objects).map(Object::uid);
    let mut sets = snapshot.made_by(object, "ReplicaSet");
    sets.sort_by_key(|set| Some(set.uid()) != new);
    let mut causes: Vec<Cause> = sets.into_iter().flat_map(|set| owner(snapshot, set, &here)).collect();
    let scalers = snapshot.of_kind("HorizontalPodAutoscaler").filter(|scaler| scales(scaler, object));
    causes.extend(scalers.filter_map(|scaler| surroundings::autoscaler(scaler, &here)));
    let is_paused = object.at("/spec/paused").and_then(Value::as_bool) == Some(true);
    if is_paused && !status.is_current() {
        let advice = format!(
            "`kubectl rollout resume deployment/{}`, when its changes are to come out",
            object.name()
        );
        causes.push(Cause::new(here, Reason::Paused, "", advice));
    } else if causes.is_empty() {
        causes.extend(match &status {
            Status::Failed { why } => {
                let advice = "look at its newest pods and their events; if they only need longer, raise \
                              rolling.progressDeadlineSeconds";
                Some(Cause::new(here, Reason::NoProgress, why, advice))
            }
            _ => waiting(object, trail),
        });
    }
    causes
}

fn scales(scaler: &Object, deployment: &Object) -> bool {
    let text = |name: &str| scaler.text(&format!("/spec/scaleTargetRef/{name}"));
    text("kind") == Some(deployment.kind())
        && text("name") == Some(deployment.name())
        && scaler.key().namespace == deployment.key().namespace
}

/// A ReplicaSet, a StatefulSet or a DaemonSet: pods that it may not make, and pods that it made.
pub(super) fn owner(snapshot: &Snapshot, object: &Object, trail: &Trail) -> Vec<Cause> {
    let refused = refused(snapshot, object);
    let here = match refused {
        Some(_) => trail.to(object, "its pods are refused"),
        None => trail.to(object, status(object, None)),
    };
    let refused = refused.map(|message| {
        let (reason, advice) = if message.contains("violates PodSecurity") {
            (Reason::PodSecurity, advice::pod_security(message))
        } else if is_quota(message) {
            (Reason::Quota, advice::quota(message))
        } else {
            (Reason::PodRefused, advice::refused(message))
        };
        Cause::new(here.clone(), reason, message, advice)
    });
    let made = snapshot.made_by(object, "Pod");
    refused.into_iter().chain(made.into_iter().filter_map(|pod| pods::pod(snapshot, pod, &here))).collect()
}

/// What the cluster said when it refused a pod. ReplicaSets have a condition for it; the others only events, which are
/// of the past when all pods are there.
fn refused<'a>(snapshot: &'a Snapshot, object: &'a Object) -> Option<&'a str> {
    if object.kind() == "ReplicaSet" {
        return condition(object, "ReplicaFailure")
            .filter(|failure| failure.is_true())
            .map(|failure| failure.told());
    }
    if status(object, None).is_current() {
        return None;
    }
    snapshot.newest_event(object, |event| event.reason() == "FailedCreate").map(|event| event.message())
}

pub(super) fn job(snapshot: &Snapshot, object: &Object, trail: &Trail) -> Vec<Cause> {
    let here = trail.to(object, status(object, None));
    let made = snapshot.made_by(object, "Pod");
    let Some(failed) = condition(object, "Failed").filter(|failed| failed.is_true()) else {
        let causes: Vec<Cause> = made.iter().filter_map(|pod| pods::pod(snapshot, pod, &here)).collect();
        return if causes.is_empty() { waiting(object, trail).into_iter().collect() } else { causes };
    };
    // The last pod that ended badly: it says most.
    let ended = made.iter().rev().find_map(|pod| {
        let container = containers(pod).find(|one| one.ended().is_some_and(|end| end.code != 0))?;
        Some((*pod, container))
    });
    let (here, advice) = (trail.to(object, failed.reason()), advice::job(failed.reason()));
    let cause = match ended {
        Some((pod, container)) => {
            let way =
                here.to(pod, pods::says(pod)).to_container(container.name(), pods::how_it_ended(container));
            Cause::new(way, Reason::JobFailed, failed.told(), advice).read(pod, container.name())
        }
        None => Cause::new(here, Reason::JobFailed, failed.told(), advice),
    };
    vec![cause]
}

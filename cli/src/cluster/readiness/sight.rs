//! What there is to see of new pods at one moment: which of them count, what was refused, what cannot start.

use std::collections::BTreeSet;

use serde_json::Value;

use super::conditions::condition;
use super::containers::containers;
use super::events::Event;
use super::lineage::is_owned_by;
use super::troubles::{Trouble, TroubleKind};
use crate::cluster::object::Object;

/// What there is to see at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// What makes the new pods: the new ReplicaSet ([`new_replica_set`](super::new_replica_set)), a StatefulSet, or a Job.
    /// None as long as it is not there.
    pub owner: Option<&'a Object>,
    /// Pods. Those of another owner or another version are not held against the new ones.
    pub pods: &'a [Object],
    /// Events about them.
    pub events: &'a [Object],
}

/// The pods that count: those that the owner made, of its newest version, that are not about to go.
pub(super) fn new_pods<'a>(sight: &Sight<'a>) -> Vec<&'a Object> {
    let Some((owner, uid)) = sight.owner.and_then(|owner| Some((owner, owner.uid()?))) else {
        return Vec::new();
    };
    let version = match owner.kind() {
        "ReplicaSet" => Some(("pod-template-hash", owner.label("pod-template-hash"))),
        "StatefulSet" => Some(("controller-revision-hash", owner.text("/status/updateRevision"))),
        _ => None,
    };
    let counts = |pod: &&Object| {
        is_owned_by(pod, uid)
            && !is_leaving(pod)
            && version.is_none_or(|(label, hash)| pod.label(label) == hash)
    };
    sight.pods.iter().filter(counts).collect()
}

fn is_leaving(pod: &Object) -> bool {
    pod.text("/metadata/deletionTimestamp").is_some()
}

/// What the owner was not allowed to make.
pub(super) fn refusals(sight: &Sight<'_>) -> Option<Trouble> {
    let owner = sight.owner?;
    let failure = condition(owner, "ReplicaFailure").filter(|failure| failure.is_true());
    let message = match &failure {
        Some(failure) => failure.told(),
        // A Job and a StatefulSet say it in events only, which outlive what they tell of.
        None if owner.kind() != "ReplicaSet" && new_pods(sight).is_empty() => not_created(sight, owner)?,
        None => return None,
    };
    let kind = match message {
        _ if message.contains("violates PodSecurity") => TroubleKind::PodSecurity,
        // Pods that are about to go still count against the quota: it may be free in a moment.
        _ if is_quota(message) && !sight.pods.iter().any(is_leaving) => TroubleKind::Quota,
        _ => return None,
    };
    Some(Trouble { kind, object: owner.key().to_string(), message: message.to_owned() })
}

/// What was said the last time that a pod of `owner` could not be made.
fn not_created<'a>(sight: &Sight<'a>, owner: &Object) -> Option<&'a str> {
    let events = sight.events.iter().filter_map(Event::of);
    let failed =
        events.filter(|event| Some(event.about()) == owner.uid() && event.reason() == "FailedCreate");
    failed.max_by_key(|event| event.last_seen()).map(Event::message)
}

/// Whether a refusal speaks of a quota: used up, or one that demands what the pod does not say.
pub(in crate::cluster) fn is_quota(message: &str) -> bool {
    message.contains("exceeded quota") || message.contains("failed quota")
}

/// The container of `pod` that cannot be started as it is described.
pub(super) fn unstartable(pod: &Object) -> Option<Trouble> {
    containers(pod).find_map(|container| {
        let reason = container.waits_for()?;
        // A node that has not heard of the ConfigMap yet tries again.
        if container.waits_with().contains("failed to sync") {
            return None;
        }
        let kind = match reason {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                TroubleKind::ImagePull
            }
            "CreateContainerConfigError" | "CreateContainerError" => TroubleKind::ContainerConfig,
            _ => return None,
        };
        let (name, said) = (container.name(), container.waits_with());
        let colon = if said.is_empty() { "" } else { ": " };
        let message = format!("container {name}: {reason}{colon}{said}");
        Some(Trouble { kind, object: pod.key().to_string(), message })
    })
}

/// How many pods the owner is to have.
pub(super) fn wanted(owner: &Object) -> u64 {
    let pointer = if owner.kind() == "Job" { "/spec/parallelism" } else { "/spec/replicas" };
    owner.at(pointer).and_then(Value::as_u64).unwrap_or(1)
}

/// All of which a change is progress, or at least news. An event that comes again is neither.
pub(super) fn picture(sight: &Sight<'_>, pods: &[&Object]) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    if let Some(owner) = sight.owner {
        let numbers = ["replicas", "readyReplicas", "availableReplicas", "active", "succeeded", "failed"];
        let numbers = numbers.map(|name| owner.number(&format!("/status/{name}")).unwrap_or(0));
        lines.insert(format!("{} {numbers:?}", owner.uid().unwrap_or_default()));
    }
    for pod in pods {
        let uid = pod.uid().unwrap_or_default();
        let is_ready = condition(pod, "Ready").is_some_and(|ready| ready.is_true());
        lines.insert(format!("{uid} {:?} {is_ready}", pod.text("/status/phase")));
        for container in containers(pod) {
            let (name, state, reason) = (container.name(), container.state(), container.waits_for());
            lines.insert(format!("{uid} {name} {state:?} {reason:?} {}", container.restarts()));
        }
    }
    let all = sight.owner.into_iter().chain(pods.iter().copied());
    let uids: BTreeSet<&str> = all.filter_map(Object::uid).collect();
    let events = sight.events.iter().filter_map(Event::of).filter(|event| uids.contains(event.about()));
    lines.extend(events.map(|event| format!("event {} {}", event.about(), event.reason())));
    lines
}

//! One pod: from the node it does not find to the probe that fails.

use serde_json::Value;

use super::cause::{Cause, Reason, Trail};
use super::explain::waiting;
use super::snapshot::Snapshot;
use super::{advice, scheduling, surroundings};
use crate::cluster::object::Object;
use crate::cluster::readiness::{Container, Ended, Event, condition, containers};

/// What keeps `pod` from being ready. One that is ready, done, or on its way out is not asked.
pub(super) fn pod(snapshot: &Snapshot, pod: &Object, trail: &Trail) -> Option<Cause> {
    let is_leaving = pod.text("/metadata/deletionTimestamp").is_some();
    let is_ready = condition(pod, "Ready").is_some_and(|ready| ready.is_true());
    if is_leaving || is_ready || pod.text("/status/phase") == Some("Succeeded") {
        return None;
    }
    let here = trail.to(pod, says(pod));
    homeless(snapshot, pod, &here)
        .or_else(|| on_a_lost_node(snapshot, pod, &here))
        .or_else(|| evicted(pod, &here))
        .or_else(|| containers(pod).find_map(|container| stuck(snapshot, pod, container, &here)))
        .or_else(|| unmade(snapshot, pod, &here))
        .or_else(|| probed(snapshot, pod, &here))
        .or_else(|| waiting(pod, trail))
}

/// How a pod is, in a few words.
pub(super) fn says(pod: &Object) -> String {
    let phase = pod.text("/status/phase").unwrap_or("not started");
    let node = pod.text("/spec/nodeName").map(|node| format!(" on {node}")).unwrap_or_default();
    let is_ready = condition(pod, "Ready").is_some_and(|ready| ready.is_true());
    let ready = if phase == "Running" && !is_ready { ", not ready" } else { "" };
    format!("{phase}{node}{ready}")
}

fn homeless(snapshot: &Snapshot, pod: &Object, here: &Trail) -> Option<Cause> {
    let scheduled = condition(pod, "PodScheduled").filter(|scheduled| scheduled.is_false())?;
    // A pod that waits for a volume finds no node; the volume is the cause.
    let mut claims = claims(pod).filter_map(|name| snapshot.named("PersistentVolumeClaim", name, pod));
    let pending = claims.find_map(|claim| surroundings::claim(snapshot, claim, here));
    let advice = || scheduling::advice(scheduled.told(), pod);
    pending.or_else(|| Some(Cause::new(here.clone(), Reason::Unschedulable, scheduled.told(), advice())))
}

fn claims(pod: &Object) -> impl Iterator<Item = &str> {
    let volumes = pod.at("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
    volumes.filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName")?.as_str())
}

fn on_a_lost_node(snapshot: &Snapshot, pod: &Object, here: &Trail) -> Option<Cause> {
    let node = snapshot.named("Node", pod.text("/spec/nodeName")?, pod)?;
    surroundings::node(node, here)
}

fn evicted(pod: &Object, here: &Trail) -> Option<Cause> {
    (pod.text("/status/reason") == Some("Evicted")).then(|| {
        let message = pod.text("/status/message").unwrap_or_default();
        let advice = "the node ran short of what the message names: ask for as much as it really needs \
                      (resources.requests), or give the nodes more";
        Cause::new(here.clone(), Reason::Evicted, message, advice)
    })
}

/// A container that cannot start, or that ends.
fn stuck(snapshot: &Snapshot, pod: &Object, container: Container<'_>, here: &Trail) -> Option<Cause> {
    let name = container.name();
    let says = container.waits_for().unwrap_or_default();
    match says {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            let pulled = |event: Event<'_>| event.message().starts_with("Failed to pull image");
            // While the node waits before it tries again, only the event says what the registry said.
            let event = snapshot.newest_event(pod, pulled).map(|event| event.message());
            let message = event.unwrap_or_else(|| container.waits_with());
            let image = described(pod, name).and_then(|spec| spec.get("image")?.as_str()).unwrap_or_default();
            let advice = advice::image(image, says, message);
            Some(Cause::new(here.to_container(name, says), Reason::ImagePull, message, advice))
        }
        "CreateContainerConfigError" | "CreateContainerError" => {
            let message = container.waits_with();
            let advice = advice::config(message);
            Some(Cause::new(here.to_container(name, says), Reason::ContainerConfig, message, advice))
        }
        _ => {
            let end = container
                .ended()
                .or_else(|| (says == "CrashLoopBackOff").then(|| container.ended_before()).flatten())?;
            // An init container that ended well has done its work.
            if end.code == 0 && says != "CrashLoopBackOff" {
                return None;
            }
            let way = here.to_container(name, how_it_ended(container));
            Some(crashed(snapshot, pod, name, end, way).read(pod, name))
        }
    }
}

/// How a container ended last, and how often it was started again.
pub(super) fn how_it_ended(container: Container<'_>) -> String {
    let end = container.ended().or_else(|| container.ended_before());
    let end = end.map_or_else(
        || "has not ended".to_owned(),
        |end| match end.reason {
            "" => format!("exit code {}", end.code),
            reason => format!("exit code {} ({reason})", end.code),
        },
    );
    match container.restarts() {
        0 => end,
        1 => format!("{end}, 1 restart"),
        more => format!("{end}, {more} restarts"),
    }
}

fn crashed(snapshot: &Snapshot, pod: &Object, name: &str, end: Ended<'_>, way: Trail) -> Cause {
    if end.reason == "OOMKilled" {
        let limit = described(pod, name).and_then(|spec| spec.pointer("/resources/limits/memory")?.as_str());
        return Cause::new(way, Reason::OutOfMemory, "", advice::memory(limit));
    }
    // Whom a probe killed did not end by itself.
    let is_killer = |event: Event<'_>| {
        event.reason() == "Unhealthy"
            && ["Liveness", "Startup"].iter().any(|probe| event.message().starts_with(probe))
    };
    let was_killed = matches!(end.code, 137 | 143);
    if let Some(event) = snapshot.newest_event(pod, is_killer).filter(|_| was_killed) {
        return Cause::new(way, Reason::Probe, event.message(), advice::probe(event.message()));
    }
    Cause::new(way, Reason::Crash, end.message, advice::crash(name, end))
}

/// The description of the container `name`.
fn described<'a>(pod: &'a Object, name: &str) -> Option<&'a Value> {
    let all = ["/spec/containers", "/spec/initContainers"];
    let mut all = all.into_iter().filter_map(|pointer| pod.at(pointer)?.as_array()).flatten();
    all.find(|spec| spec.get("name").and_then(Value::as_str) == Some(name))
}

/// Containers are still being made: of what the node says, the newest event.
fn unmade(snapshot: &Snapshot, pod: &Object, here: &Trail) -> Option<Cause> {
    if pod.text("/status/phase") != Some("Pending") {
        return None;
    }
    let troubles = ["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"];
    let event = snapshot.newest_event(pod, |event| troubles.contains(&event.reason()))?;
    let (reason, advice) = match event.reason() {
        "FailedCreatePodSandBox" => (
            Reason::Sandbox,
            "the node's network plugin or container runtime is at fault: look at the node".to_owned(),
        ),
        _ => (Reason::Mount, advice::config(event.message())),
    };
    Some(Cause::new(here.clone(), reason, event.message(), advice))
}

/// It runs, and a probe says that it is not well.
fn probed(snapshot: &Snapshot, pod: &Object, here: &Trail) -> Option<Cause> {
    let event = snapshot.newest_event(pod, |event| event.reason() == "Unhealthy")?;
    let container = containers(pod).find(|container| container.state() == Some("running"))?;
    let says = match container.restarts() {
        0 => "runs".to_owned(),
        restarts => format!("runs, {restarts} restarts"),
    };
    let way = here.to_container(container.name(), says);
    let cause = Cause::new(way, Reason::Probe, event.message(), advice::probe(event.message()));
    Some(cause.read(pod, container.name()))
}

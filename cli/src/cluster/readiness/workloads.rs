//! What runs: Deployments, StatefulSets, DaemonSets, ReplicaSets, pods and Jobs.

use serde_json::Value;

use super::conditions::condition;
use super::containers::containers;
use super::status::Status;
use crate::cluster::object::Object;

/// `progressDeadlineSeconds` that means none.
const NO_DEADLINE: i64 = i32::MAX as i64;

fn count(object: &Object, name: &str) -> i64 {
    object.number(&format!("/status/{name}")).unwrap_or(0)
}

fn wanted(object: &Object) -> i64 {
    object.number("/spec/replicas").unwrap_or(1)
}

/// Waits when its controller never looked at it. That it looked at something older is seen before.
fn unobserved(object: &Object) -> Option<Status> {
    let is_observed = object.number("/status/observedGeneration").is_some();
    (!is_observed).then(|| Status::waits("its controller has not looked at it yet"))
}

/// The first of the counts that falls short, in words.
fn short<const N: usize>(counts: [(i64, i64, &str); N]) -> Option<Status> {
    let found = counts.into_iter().find(|(is, of, _)| is < of)?;
    let (is, of, what) = found;
    Some(Status::waits(format!("{is} of {of} pods {what}")))
}

/// Waits for pods that are there beyond those that are wanted.
fn leaving(there: i64, wanted: i64) -> Option<Status> {
    let more = there - wanted;
    (more > 0).then(|| Status::waits(format!("{more} more than {wanted} pods are still there")))
}

pub(super) fn deployment(object: &Object) -> Status {
    let progressing = condition(object, "Progressing");
    let is_late = |reason| reason == "ProgressDeadlineExceeded";
    if let Some(late) = progressing.filter(|progressing| is_late(progressing.reason())) {
        return Status::failed(late.told());
    }
    let wanted = wanted(object);
    let [there, updated, available, ready] =
        ["replicas", "updatedReplicas", "availableReplicas", "readyReplicas"].map(|name| count(object, name));
    let refused = condition(object, "ReplicaFailure").filter(|failure| failure.is_true());
    unobserved(object)
        .or_else(|| refused.filter(|_| there < wanted).map(|failure| Status::waits(failure.told())))
        .or_else(|| short([(there, wanted, "are there"), (updated, wanted, "are of the new version")]))
        .or_else(|| leaving(there, wanted))
        .or_else(|| short([(available, updated, "are available"), (ready, wanted, "are ready")]))
        .or_else(|| if wanted == 0 { Some(Status::Current) } else { unsettled(object) })
        .unwrap_or(Status::Current)
}

/// What a Deployment with all its pods still has to say before it is done.
fn unsettled(object: &Object) -> Option<Status> {
    let has_deadline = object.number("/spec/progressDeadlineSeconds").unwrap_or(NO_DEADLINE) != NO_DEADLINE;
    let is_complete = condition(object, "Progressing")
        .is_some_and(|progressing| progressing.is_true() && progressing.reason() == "NewReplicaSetAvailable");
    let is_paused = object.at("/spec/paused").and_then(Value::as_bool) == Some(true);
    if has_deadline && !is_complete {
        let why =
            if is_paused { "it is paused" } else { "its controller does not call the change complete yet" };
        return Some(Status::waits(why));
    }
    let is_available = condition(object, "Available").is_some_and(|available| available.is_true());
    (!is_available).then(|| Status::waits("its controller does not call it available yet"))
}

pub(super) fn stateful_set(object: &Object) -> Status {
    let wanted = wanted(object);
    let [there, ready, updated] =
        ["replicas", "readyReplicas", "updatedReplicas"].map(|name| count(object, name));
    // Pods below the partition stay as they are on purpose, and so do all of them with `OnDelete`.
    let partition = object.number("/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
    let is_by_hand = object.text("/spec/updateStrategy/type") == Some("OnDelete");
    let to_update = if is_by_hand { 0 } else { (wanted - partition).max(0) };
    let available = object.number("/status/availableReplicas").unwrap_or(ready);
    unobserved(object)
        .or_else(|| short([(there, wanted, "are there"), (ready, wanted, "are ready")]))
        .or_else(|| leaving(there, wanted))
        .or_else(|| {
            short([(updated, to_update, "are of the new version"), (available, wanted, "are available")])
        })
        .unwrap_or(Status::Current)
}

pub(super) fn daemon_set(object: &Object) -> Status {
    let Some(wanted) = object.number("/status/desiredNumberScheduled") else {
        return Status::waits("its controller has not looked at it yet");
    };
    let [there, updated, available, ready] =
        ["currentNumberScheduled", "updatedNumberScheduled", "numberAvailable", "numberReady"]
            .map(|name| count(object, name));
    let is_by_hand = object.text("/spec/updateStrategy/type") == Some("OnDelete");
    let to_update = if is_by_hand { 0 } else { wanted };
    let counts = [
        (there, wanted, "are there"),
        (updated, to_update, "are of the new version"),
        (available, wanted, "are available"),
        (ready, wanted, "are ready"),
    ];
    unobserved(object).or_else(|| short(counts)).unwrap_or(Status::Current)
}

pub(super) fn replica_set(object: &Object) -> Status {
    let wanted = wanted(object);
    let [there, labelled, available, ready] =
        ["replicas", "fullyLabeledReplicas", "availableReplicas", "readyReplicas"]
            .map(|name| count(object, name));
    let refused = condition(object, "ReplicaFailure").filter(|failure| failure.is_true());
    let counts =
        [(labelled, wanted, "are there"), (available, wanted, "are available"), (ready, wanted, "are ready")];
    unobserved(object)
        .or_else(|| refused.map(|failure| Status::waits(failure.told())))
        .or_else(|| short(counts))
        .or_else(|| leaving(there, wanted))
        .unwrap_or(Status::Current)
}

/// A pod alone. One that has ended is what it will ever be, and whether that is good is for its owner to say; one that
/// finds no node waits, and for how long that may go on is not for the pod to say either.
pub(super) fn pod(object: &Object) -> Status {
    match object.text("/status/phase").unwrap_or_default() {
        "Succeeded" | "Failed" => Status::Current,
        "Running" => running(object),
        "Pending" => match condition(object, "PodScheduled").filter(|scheduled| scheduled.is_false()) {
            Some(scheduled) => Status::waits(scheduled.told()),
            None => looping(object).unwrap_or_else(|| Status::waits("it has not started yet")),
        },
        _ => Status::waits("its node has not reported it yet"),
    }
}

fn running(object: &Object) -> Status {
    match condition(object, "Ready") {
        Some(ready) if ready.is_true() => Status::Current,
        Some(ready) => looping(object).unwrap_or_else(|| Status::waits(ready.told())),
        None => looping(object).unwrap_or_else(|| Status::waits("it is not ready yet")),
    }
}

fn looping(object: &Object) -> Option<Status> {
    let container = containers(object).find(|one| one.waits_for() == Some("CrashLoopBackOff"))?;
    Some(Status::failed(format!("container {} ends again and again", container.name())))
}

/// Current when it is complete: a Job that runs is no Job that is done.
pub(super) fn job(object: &Object) -> Status {
    let said = |kind| condition(object, kind).filter(|condition| condition.is_true());
    if said("Complete").is_some() {
        return Status::Current;
    }
    if let Some(failed) = said("Failed") {
        return Status::failed(failed.told());
    }
    let [active, failed] = ["active", "failed"].map(|name| count(object, name));
    Status::waits(match said("Suspended") {
        Some(_) => "it is suspended".to_owned(),
        None if failed > 0 => format!("{active} of its pods run, {failed} have failed"),
        None => format!("{active} of its pods run"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::status;
    use super::*;

    const UNOBSERVED: &str = "its controller has not looked at it yet";
    const UNSEEN: &str = "its controller has not seen the change yet";

    fn object(version: &str, kind: &str, spec: &Value, status: &Value) -> Object {
        Object::new(json!({
            "apiVersion": version, "kind": kind, "metadata": {"name": "x", "generation": 2},
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    /// Each case: spec, status, and why it waits; empty for current, with `!` in front for failed.
    fn judged(version: &str, kind: &str, cases: &[(Value, Value, &str)]) {
        for (spec, given, expected) in cases {
            let found = match status(&object(version, kind, spec, given), None) {
                Status::Current => String::new(),
                Status::Failed { why } => format!("!{why}"),
                other => other.to_string(),
            };
            assert_eq!(found, *expected, "{kind} {spec} {given}");
        }
    }

    /// `base` with some of its fields replaced.
    fn with(base: &Value, changes: &Value) -> Value {
        let mut all = base.clone();
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        all
    }

    fn conditions(all: &[(&str, &str, &str)]) -> Value {
        let all = all.iter();
        all.map(|(kind, status, reason)| json!({"type": kind, "status": status, "reason": reason})).collect()
    }

    #[test]
    fn deployments() {
        let spec = json!({"replicas": 3, "progressDeadlineSeconds": 300});
        let complete = [("Available", "True", ""), ("Progressing", "True", "NewReplicaSetAvailable")];
        let done = json!({
            "observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3,
            "readyReplicas": 3, "conditions": conditions(&complete),
        });
        let case = |changes: Value, expected: &'static str| (spec.clone(), with(&done, &changes), expected);
        let nothing = json!({"observedGeneration": 2});
        let late = [("Progressing", "False", "ProgressDeadlineExceeded")];
        let quota = [("ReplicaFailure", "True", "FailedCreate")];
        let replacing = [("Available", "True", ""), ("Progressing", "True", "ReplicaSetUpdated")];
        let scarce = [("Available", "False", ""), ("Progressing", "True", "NewReplicaSetAvailable")];
        let mut cases = vec![
            case(json!({}), ""),
            case(json!({"observedGeneration": null}), UNOBSERVED),
            case(json!({"observedGeneration": 1}), UNSEEN),
            case(json!({"replicas": 2}), "2 of 3 pods are there"),
            case(json!({"replicas": 2, "conditions": conditions(&quota)}), "FailedCreate"),
            case(json!({"updatedReplicas": 1}), "1 of 3 pods are of the new version"),
            case(json!({"replicas": 4}), "1 more than 3 pods are still there"),
            case(json!({"availableReplicas": 2}), "2 of 3 pods are available"),
            case(json!({"readyReplicas": 2}), "2 of 3 pods are ready"),
            case(json!({"conditions": conditions(&late)}), "!ProgressDeadlineExceeded"),
            case(
                json!({"conditions": conditions(&replacing)}),
                "its controller does not call the change complete yet",
            ),
            case(json!({"conditions": conditions(&scarce)}), "its controller does not call it available yet"),
        ];
        let zero = json!({"replicas": 0, "progressDeadlineSeconds": 300});
        cases.push((zero.clone(), nothing.clone(), ""));
        cases.push((zero, with(&nothing, &json!({"replicas": 1})), "1 more than 0 pods are still there"));
        // Without a number there is one, and without a deadline nobody says that the change is complete.
        cases.push((json!({}), nothing, "0 of 1 pods are there"));
        let one = json!({
            "observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
            "readyReplicas": 1, "conditions": conditions(&[("Available", "True", "")]),
        });
        cases.push((json!({}), one.clone(), ""));
        cases.push((json!({"progressDeadlineSeconds": NO_DEADLINE}), one.clone(), ""));
        cases.push((json!({"progressDeadlineSeconds": 9, "paused": true}), one, "it is paused"));
        judged("apps/v1", "Deployment", &cases);
    }

    #[test]
    fn stateful_sets() {
        let spec = json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate"}});
        let done = json!({
            "observedGeneration": 2, "replicas": 3, "readyReplicas": 3, "updatedReplicas": 3,
            "availableReplicas": 3,
        });
        let case =
            |spec: Value, changes: Value, expected: &'static str| (spec, with(&done, &changes), expected);
        let partition = json!({
            "replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}},
        });
        let by_hand = json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}});
        let cases = [
            case(spec.clone(), json!({}), ""),
            case(spec.clone(), json!({"observedGeneration": null}), UNOBSERVED),
            case(spec.clone(), json!({"observedGeneration": 1}), UNSEEN),
            case(spec.clone(), json!({"replicas": 2}), "2 of 3 pods are there"),
            case(spec.clone(), json!({"readyReplicas": 1}), "1 of 3 pods are ready"),
            case(spec.clone(), json!({"replicas": 5}), "2 more than 3 pods are still there"),
            case(spec.clone(), json!({"updatedReplicas": 2}), "2 of 3 pods are of the new version"),
            case(spec.clone(), json!({"availableReplicas": 2}), "2 of 3 pods are available"),
            case(spec, json!({"availableReplicas": null}), ""),
            case(partition.clone(), json!({"updatedReplicas": 1}), ""),
            case(partition, json!({"updatedReplicas": 0}), "0 of 1 pods are of the new version"),
            case(by_hand.clone(), json!({"updatedReplicas": 0}), ""),
            case(by_hand, json!({"readyReplicas": 0}), "0 of 3 pods are ready"),
            (json!({"replicas": 0}), json!({"observedGeneration": 2}), ""),
            (
                json!({"replicas": 0}),
                json!({"observedGeneration": 2, "replicas": 1}),
                "1 more than 0 pods are still there",
            ),
        ];
        judged("apps/v1", "StatefulSet", &cases);
    }

    #[test]
    fn daemon_sets() {
        let done = json!({
            "observedGeneration": 2, "desiredNumberScheduled": 2, "currentNumberScheduled": 2,
            "updatedNumberScheduled": 2, "numberAvailable": 2, "numberReady": 2,
        });
        let case = |changes: Value, expected: &'static str| (json!({}), with(&done, &changes), expected);
        let by_hand = json!({"updateStrategy": {"type": "OnDelete"}});
        let cases = [
            case(json!({}), ""),
            case(json!({"observedGeneration": null}), UNOBSERVED),
            case(json!({"observedGeneration": 1}), UNSEEN),
            case(json!({"desiredNumberScheduled": null}), UNOBSERVED),
            case(json!({"currentNumberScheduled": 1}), "1 of 2 pods are there"),
            case(json!({"updatedNumberScheduled": 1}), "1 of 2 pods are of the new version"),
            case(json!({"numberAvailable": 1}), "1 of 2 pods are available"),
            case(json!({"numberReady": 1}), "1 of 2 pods are ready"),
            (by_hand, with(&done, &json!({"updatedNumberScheduled": 0})), ""),
        ];
        judged("apps/v1", "DaemonSet", &cases);
    }

    #[test]
    fn replica_sets() {
        let spec = json!({"replicas": 2});
        let done = json!({
            "observedGeneration": 2, "replicas": 2, "fullyLabeledReplicas": 2, "availableReplicas": 2,
            "readyReplicas": 2,
        });
        let case = |changes: Value, expected: &'static str| (spec.clone(), with(&done, &changes), expected);
        let cases = [
            case(json!({}), ""),
            case(json!({"observedGeneration": null}), UNOBSERVED),
            case(
                json!({"conditions": conditions(&[("ReplicaFailure", "True", "FailedCreate")])}),
                "FailedCreate",
            ),
            case(json!({"fullyLabeledReplicas": 1}), "1 of 2 pods are there"),
            case(json!({"availableReplicas": 1}), "1 of 2 pods are available"),
            case(json!({"replicas": 3}), "1 more than 2 pods are still there"),
            (json!({"replicas": 0}), json!({"observedGeneration": 2, "replicas": 0}), ""),
        ];
        judged("apps/v1", "ReplicaSet", &cases);
    }

    #[test]
    fn pods() {
        let in_phase =
            |phase: &str, all: &[(&str, &str, &str)]| json!({"phase": phase, "conditions": conditions(all)});
        let looping = json!([
            {"name": "calm", "state": {"running": {}}},
            {"name": "shopd", "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
        ]);
        let loops = |phase: &str, pointer: &str| json!({"phase": phase, pointer: looping});
        let again = "!container shopd ends again and again";
        let unready = in_phase("Running", &[("Ready", "False", "ContainersNotReady")]);
        let cases = [
            (json!({}), json!({}), "its node has not reported it yet"),
            (json!({}), in_phase("Succeeded", &[]), ""),
            (json!({}), in_phase("Failed", &[]), ""),
            (json!({}), in_phase("Pending", &[]), "it has not started yet"),
            (json!({}), in_phase("Pending", &[("PodScheduled", "False", "Unschedulable")]), "Unschedulable"),
            (json!({}), in_phase("Running", &[("Ready", "True", "")]), ""),
            (json!({}), unready, "ContainersNotReady"),
            (json!({}), in_phase("Running", &[]), "it is not ready yet"),
            (json!({}), loops("Running", "containerStatuses"), again),
            (json!({}), loops("Pending", "initContainerStatuses"), again),
        ];
        judged("v1", "Pod", &cases);
    }

    #[test]
    fn jobs_are_current_when_they_are_complete() {
        let said = |kind: &str| json!({"conditions": conditions(&[(kind, "True", "Because")])});
        let cases = [
            (json!({}), json!({}), "0 of its pods run"),
            (json!({}), json!({"active": 1, "startTime": "2026-11-30T10:00:00Z"}), "1 of its pods run"),
            (json!({}), json!({"active": 1, "failed": 2}), "1 of its pods run, 2 have failed"),
            (json!({}), json!({"succeeded": 1}), "0 of its pods run"),
            (json!({}), said("Suspended"), "it is suspended"),
            (json!({}), said("FailureTarget"), "0 of its pods run"),
            (json!({}), said("Failed"), "!Because"),
            (json!({}), said("Complete"), ""),
        ];
        judged("batch/v1", "Job", &cases);
    }
}

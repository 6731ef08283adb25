//! The order in which an object is judged: what ends, what was not seen yet, what its controller says, what its kind
//! demands, what it says of itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::conditions::condition;
use super::{claims, surroundings, workloads};
use crate::cluster::object::Object;

/// How far an object is on its way to what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Status {
    /// It is what was asked for.
    Current,
    /// It is on its way.
    InProgress {
        /// What is missing.
        why: String,
    },
    /// It will not get there by waiting.
    Failed {
        /// What its controller says.
        why: String,
    },
    /// It is being deleted.
    Terminating,
}

impl Status {
    /// Whether it is what was asked for.
    #[must_use]
    pub fn is_current(&self) -> bool {
        *self == Self::Current
    }

    pub(super) fn waits(why: impl Into<String>) -> Self {
        Self::InProgress { why: why.into() }
    }

    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self::Failed { why: why.into() }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("is current"),
            Self::InProgress { why } | Self::Failed { why } => f.write_str(why),
            Self::Terminating => f.write_str("is being deleted"),
        }
    }
}

/// What the object itself does not tell.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The generation in the answer to our own apply: whatever is older shows the world before it.
    pub applied_generation: Option<i64>,
    /// Whether Services of type LoadBalancer and Ingresses are to have their address. Not where nobody gives one.
    pub lb_wait: bool,
    /// Whether the claim waits for a pod that is yet to come: see [`awaits_first_consumer`](super::awaits_first_consumer).
    pub awaits_first_consumer: bool,
}

impl Default for Circumstances {
    fn default() -> Self {
        Self { applied_generation: None, lb_wait: true, awaits_first_consumer: false }
    }
}

/// How far `object` is; `applied_generation` comes from the answer to our own apply.
#[must_use]
pub fn status(object: &Object, applied_generation: Option<i64>) -> Status {
    status_under(object, &Circumstances { applied_generation, ..Circumstances::default() })
}

/// The same, with all that is known besides.
#[must_use]
pub fn status_under(object: &Object, circumstances: &Circumstances) -> Status {
    if object.at("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null()) {
        return Status::Terminating;
    }
    let stale = unseen(object, circumstances.applied_generation);
    stale.or_else(|| said_by_its_controller(object)).unwrap_or_else(|| by_kind(object, circumstances))
}

fn unseen(object: &Object, applied: Option<i64>) -> Option<Status> {
    let generation = object.number("/metadata/generation");
    if applied.is_some_and(|applied| generation.unwrap_or(0) < applied) {
        return Some(Status::waits("what was applied does not show yet"));
    }
    let observed = object.number("/status/observedGeneration")?;
    (Some(observed) != generation).then(|| Status::waits("its controller has not seen the change yet"))
}

fn said_by_its_controller(object: &Object) -> Option<Status> {
    let said = |kind| condition(object, kind).filter(|condition| condition.is_true());
    let reconciling = said("Reconciling").map(|condition| Status::waits(condition.told()));
    reconciling.or_else(|| said("Stalled").map(|condition| Status::failed(condition.told())))
}

fn by_kind(object: &Object, circumstances: &Circumstances) -> Status {
    match (object.key().group.as_str(), object.kind()) {
        ("apps", "Deployment") => workloads::deployment(object),
        ("apps", "StatefulSet") => workloads::stateful_set(object),
        ("apps", "DaemonSet") => workloads::daemon_set(object),
        ("apps", "ReplicaSet") => workloads::replica_set(object),
        ("", "Pod") => workloads::pod(object),
        ("batch", "Job") => workloads::job(object),
        ("", "PersistentVolumeClaim") => claims::claim(object, circumstances.awaits_first_consumer),
        ("", "Service") => surroundings::service(object, circumstances.lb_wait),
        ("networking.k8s.io", "Ingress") => surroundings::ingress(object, circumstances.lb_wait),
        ("autoscaling", "HorizontalPodAutoscaler") => surroundings::autoscaler(object),
        ("policy", "PodDisruptionBudget") => surroundings::disruption_budget(object),
        ("apiregistration.k8s.io", "APIService") => surroundings::api_service(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => surroundings::definition(object),
        _ => said_by_itself(object),
    }
}

fn said_by_itself(object: &Object) -> Status {
    match condition(object, "Ready") {
        Some(ready) if !ready.is_true() => Status::waits(ready.told()),
        _ => Status::Current,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn custom(metadata: &Value, status: &Value) -> Object {
        let mut metadata = metadata.clone();
        metadata["name"] = json!("x");
        Object::new(
            json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": metadata, "status": status}),
        )
        .unwrap()
    }

    #[test]
    fn any_object_is_judged_in_the_same_order() {
        let gone = json!({"deletionTimestamp": "2026-11-30T10:00:00Z", "generation": 3});
        let here = json!({"generation": 3});
        let condition = |kind: &str, status: &str| json!({"observedGeneration": 3, "conditions": [{"type": kind, "status": status, "message": "because"}]});
        let because = || Status::waits("because");
        let cases = [
            (&gone, json!({"observedGeneration": 2}), Status::Terminating),
            (
                &here,
                json!({"observedGeneration": 2}),
                Status::waits("its controller has not seen the change yet"),
            ),
            (&here, condition("Reconciling", "True"), because()),
            (&here, condition("Reconciling", "False"), Status::Current),
            (&here, condition("Stalled", "True"), Status::failed("because")),
            (&here, condition("Ready", "False"), because()),
            (&here, condition("Ready", "Unknown"), because()),
            (&here, condition("Ready", "True"), Status::Current),
            (&here, json!({}), Status::Current),
        ];
        for (metadata, given, expected) in cases {
            assert_eq!(status(&custom(metadata, &given), None), expected, "{metadata} {given}");
        }
    }

    #[test]
    fn an_object_from_before_the_apply_passes_for_nothing() {
        let object = custom(&json!({"generation": 3}), &json!({"observedGeneration": 3}));
        assert_eq!(status(&object, Some(4)), Status::waits("what was applied does not show yet"));
        assert_eq!(status(&object, Some(3)), Status::Current);
        // Somebody applied after us: what counts is that ours is in it.
        assert_eq!(status(&object, Some(2)), Status::Current);
        let without = custom(&json!({}), &json!({}));
        assert_eq!(status(&without, Some(1)), Status::waits("what was applied does not show yet"));
    }

    #[test]
    fn a_secret_is_what_it_is() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
        assert_eq!(status(&Object::new(secret).unwrap(), None), Status::Current);
    }
}

//! What is to be seen of a service. The Deployments, the Service and the records are asked for anew each time, since what
//! is older than our own last change would be taken for what became of it; pods and endpoints come from the mirror.

use std::collections::{BTreeMap, BTreeSet};

use platform::vocabulary::Timestamp;

use super::desired::{revision_of, selector_of, slot_of};
use crate::cluster::api::{Api, ApiError};
use crate::cluster::mirror::Mirror;
use crate::cluster::object::{Key, Object};
use crate::cluster::readiness::{Sight, Trouble, Troubles, new_replica_set, status};
use crate::cluster::revision;
use crate::cluster::rollout::{
    Command, Endpoint, Observation, PerSlot, Plan, Readings, RevisionStatus, Slot, SlotSeen,
};

/// What one process remembers of a service while it drives its release.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The generation of our own last apply of each Deployment.
    pub(super) generations: PerSlot<Option<i64>>,
    /// What is held against the pods of each slot's revision.
    troubles: PerSlot<Option<(Option<u64>, Troubles)>>,
    /// The answer to the last question about the gates.
    pub(super) readings: Option<Readings>,
    /// The command that was told last.
    pub(super) command: Option<Command>,
}

/// What the cluster itself answers about a service.
struct Asked {
    deployments: PerSlot<Option<Object>>,
    autoscalers: PerSlot<bool>,
    service: Option<Object>,
    record: Option<RevisionStatus>,
    previous_record: Option<RevisionStatus>,
}

pub(super) async fn observe(
    api: &Api,
    namespace: &str,
    plan: &Plan,
    mirror: &Mirror,
    memory: &mut Memory,
    now: Timestamp,
) -> Result<Observation, ApiError> {
    let asked = ask(api, namespace, plan).await?;
    let all = mirror.look(|objects| about(&plan.service, objects));
    let mut slots = PerSlot::<SlotSeen>::default();
    for slot in Slot::ALL {
        if let Some(deployment) = asked.deployments.of(slot) {
            let mut seen = seen(slot, deployment, &all, *memory.generations.of(slot));
            seen.is_autoscaled = *asked.autoscalers.of(slot);
            seen.trouble = trouble(slot, deployment, &all, memory, now);
            *slots.of_mut(slot) = seen;
        }
    }
    Ok(Observation {
        endpoints: endpoints(&plan.service, &all),
        slots,
        selector: asked.service.as_ref().and_then(selector_of),
        prepare: None,
        record: asked.record,
        previous_record: asked.previous_record,
        readings: memory.readings.clone(),
        command: memory.command.clone(),
        deadline_passed: false,
    })
}

async fn ask(api: &Api, namespace: &str, plan: &Plan) -> Result<Asked, ApiError> {
    let service = &plan.service;
    let name = |slot: Slot| format!("{service}-{slot}");
    let (a, b) = (name(Slot::A), name(Slot::B));
    let deployment = |name| api.get(("apps/v1", "Deployment"), namespace, name);
    let autoscaler = |name| api.get(("autoscaling/v2", "HorizontalPodAutoscaler"), namespace, name);
    let record = async |number: Option<u64>| match number {
        Some(number) => {
            let found = revision::find(api, namespace, service, number).await?;
            Ok::<_, ApiError>(found.map(|revision| revision.status))
        }
        None => Ok(None),
    };
    let (deployment_a, deployment_b, scaler_a, scaler_b, service, record, previous_record) = tokio::try_join!(
        deployment(&a),
        deployment(&b),
        autoscaler(&a),
        autoscaler(&b),
        api.get(("v1", "Service"), namespace, service),
        record(Some(plan.revision)),
        record(plan.previous),
    )?;
    Ok(Asked {
        deployments: PerSlot { a: deployment_a, b: deployment_b },
        autoscalers: PerSlot { a: scaler_a.is_some(), b: scaler_b.is_some() },
        service,
        record,
        previous_record,
    })
}

/// The mirror's objects that have to do with `service`: by label, and what speaks of those.
fn about(service: &str, objects: &BTreeMap<Key, Object>) -> Vec<Object> {
    let is_labelled = |object: &Object| {
        object.label("app.kubernetes.io/name") == Some(service)
            || object.label("kubernetes.io/service-name") == Some(service)
    };
    let is_about = |object: &Object| {
        let name = object.text("/involvedObject/name").unwrap_or_default();
        object.kind() == "Event" && name.starts_with(service)
    };
    objects.values().filter(|object| is_labelled(object) || is_about(object)).cloned().collect()
}

fn seen(slot: Slot, deployment: &Object, all: &[Object], generation: Option<i64>) -> SlotSeen {
    let pods: Vec<&Object> =
        pods_of(slot, all).filter(|pod| pod.at("/metadata/deletionTimestamp").is_none()).collect();
    let ready = pods.iter().filter(|pod| is_ready(pod)).filter_map(|pod| pod.uid().map(str::to_owned));
    SlotSeen {
        exists: true,
        revision: revision_of(deployment),
        replicas: number(deployment.number("/spec/replicas").unwrap_or(1)),
        pods: number(i64::try_from(pods.len()).unwrap_or(i64::MAX)),
        ready: ready.collect::<BTreeSet<_>>(),
        status: status(deployment, generation),
        trouble: None,
        is_autoscaled: false,
    }
}

fn number(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

fn pods_of(slot: Slot, all: &[Object]) -> impl Iterator<Item = &Object> {
    all.iter().filter(move |object| object.kind() == "Pod" && slot_of(object) == Some(slot))
}

fn is_ready(pod: &Object) -> bool {
    let conditions = pod.at("/status/conditions").and_then(serde_json::Value::as_array);
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn trouble(
    slot: Slot,
    deployment: &Object,
    all: &[Object],
    memory: &mut Memory,
    now: Timestamp,
) -> Option<Trouble> {
    let revision = revision_of(deployment);
    let kept = memory.troubles.of_mut(slot);
    if kept.as_ref().is_none_or(|(of, _)| *of != revision) {
        *kept = Some((revision, Troubles::default()));
    }
    let (_, troubles) = kept.as_mut()?;
    let of_kind = |kind: &str| all.iter().filter(|object| object.kind() == kind).cloned().collect::<Vec<_>>();
    let (sets, pods, events) = (of_kind("ReplicaSet"), of_kind("Pod"), of_kind("Event"));
    let owner = new_replica_set(deployment, &sets);
    troubles.observe(&Sight { owner, pods: &pods, events: &events }, now)
}

fn endpoints(service: &str, all: &[Object]) -> Vec<Endpoint> {
    let slot_of_pod: BTreeMap<&str, Option<Slot>> = all
        .iter()
        .filter(|object| object.kind() == "Pod")
        .filter_map(|pod| Some((pod.uid()?, slot_of(pod))))
        .collect();
    let slices = all.iter().filter(|object| {
        object.kind() == "EndpointSlice" && object.label("kubernetes.io/service-name") == Some(service)
    });
    let listed = slices.filter_map(|slice| slice.at("/endpoints")?.as_array());
    let found = listed.flatten().filter_map(|endpoint| {
        let uid = endpoint.pointer("/targetRef/uid")?.as_str()?;
        Some(Endpoint {
            uid: uid.to_owned(),
            slot: slot_of_pod.get(uid).copied().flatten(),
            // Absent means ready, as the API has it.
            ready: endpoint.pointer("/conditions/ready").and_then(serde_json::Value::as_bool).unwrap_or(true),
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(kind: &str, name: &str, labels: Value, rest: Value) -> Object {
        let mut value = json!({
            "apiVersion": "v1", "kind": kind,
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": labels},
        });
        for (field, part) in rest.as_object().unwrap() {
            value[field] = part.clone();
        }
        Object::new(value).unwrap()
    }

    fn pod(name: &str, slot: &str, is_ready: bool) -> Object {
        let ready = if is_ready { "True" } else { "False" };
        let labels = json!({"app.kubernetes.io/name": "order", "shopctl.dev/slot": slot});
        object("Pod", name, labels, json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}}))
    }

    #[test]
    fn endpoints_are_told_by_the_slot_of_their_pods() {
        let slice = object(
            "EndpointSlice",
            "order-x",
            json!({"kubernetes.io/service-name": "order"}),
            json!({"endpoints": [
                {"targetRef": {"uid": "uid-one"}, "conditions": {"ready": true}},
                {"targetRef": {"uid": "uid-two"}, "conditions": {"ready": false}},
                {"targetRef": {"uid": "uid-gone"}},
            ]}),
        );
        let all = [pod("one", "a", true), pod("two", "b", false), slice];
        let found = endpoints("order", &all);
        let told: Vec<_> = found.iter().map(|one| (one.slot, one.ready)).collect();
        assert_eq!(told, [(Some(Slot::A), true), (Some(Slot::B), false), (None, true)]);
        assert!(endpoints("user", &all).is_empty());
    }

    #[test]
    fn a_slot_counts_the_pods_that_stay_and_those_that_are_ready() {
        let mut leaving = pod("leaving", "a", true);
        leaving.value_mut()["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let all = [pod("one", "a", true), pod("two", "a", false), pod("three", "b", true), leaving];
        let deployment = object("Deployment", "order-a", json!({}), json!({"spec": {"replicas": 3}}));
        let seen = seen(Slot::A, &deployment, &all, None);
        assert_eq!((seen.replicas, seen.pods), (3, 2));
        assert_eq!(seen.ready, BTreeSet::from(["uid-one".to_owned()]));
    }
}

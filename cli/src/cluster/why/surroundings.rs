//! What stands around pods: Services, autoscalers, claims and nodes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cause::{Cause, Reason, Trail};
use super::explain::{explain, waiting};
use super::snapshot::Snapshot;
use crate::cluster::object::Object;
use crate::cluster::readiness::condition;

/// The label by which an EndpointSlice names its Service.
const SERVICE: &str = "kubernetes.io/service-name";

/// A Service is as well as the workloads that it selects.
pub(super) fn service(snapshot: &Snapshot, object: &Object, trail: &Trail) -> Vec<Cause> {
    let selector = labels(object.at("/spec/selector"));
    if selector.is_empty() {
        return waiting(object, trail).into_iter().collect();
    }
    let (ready, all) = endpoints(snapshot, object);
    let here = trail.to(object, format!("{ready} of {all} endpoints are ready"));
    let is_selected = |workload: &&Object| {
        let carried = labels(workload.at("/spec/template/metadata/labels"));
        workload.key().namespace == object.key().namespace && is_within(&selector, &carried)
    };
    let kinds = ["Deployment", "StatefulSet", "DaemonSet"];
    let workloads: Vec<&Object> =
        kinds.into_iter().flat_map(|kind| snapshot.of_kind(kind)).filter(is_selected).collect();
    let causes: Vec<Cause> =
        workloads.iter().flat_map(|workload| explain(snapshot, workload, &here)).collect();
    if !causes.is_empty() || ready > 0 {
        return causes;
    }
    let is_off = |workload: &Object| workload.number("/spec/replicas") == Some(0);
    let told = told(&selector);
    let cause = if workloads.is_empty() {
        let advice = "correct the Service's selector, or bring out what it is to select";
        Cause::new(here, Reason::SelectsNothing, &format!("nothing has the labels {told}"), advice)
    } else if workloads.iter().all(|workload| is_off(workload)) {
        let message = format!("whatever has the labels {told} is to have 0 pods");
        Cause::new(here, Reason::ScaledToZero, &message, "scale it up, or select the slot that runs")
    } else {
        let message = "the pods are ready, and the Service has not taken them up yet";
        Cause::new(here, Reason::Waiting, message, "wait; ask again when it does not change")
    };
    vec![cause]
}

fn labels(value: Option<&Value>) -> BTreeMap<&str, &str> {
    let all = value.and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect()
}

fn is_within(selector: &BTreeMap<&str, &str>, carried: &BTreeMap<&str, &str>) -> bool {
    selector.iter().all(|(name, value)| carried.get(name) == Some(value))
}

fn told(selector: &BTreeMap<&str, &str>) -> String {
    selector.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// How many endpoints of a Service are ready, and how many there are.
fn endpoints(snapshot: &Snapshot, service: &Object) -> (usize, usize) {
    let slices = snapshot.of_kind("EndpointSlice").filter(|slice| {
        slice.label(SERVICE) == Some(service.name()) && slice.key().namespace == service.key().namespace
    });
    let all: Vec<&Value> = slices.filter_map(|slice| slice.at("/endpoints")?.as_array()).flatten().collect();
    // Who says nothing about an endpoint says that it is ready.
    let is_ready =
        |endpoint: &&&Value| endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true);
    (all.iter().filter(is_ready).count(), all.len())
}

pub(super) fn autoscaler(object: &Object, trail: &Trail) -> Option<Cause> {
    let said = |kind| condition(object, kind).filter(|condition| condition.is_false());
    let blind = said("AbleToScale").or_else(|| said("ScalingActive"))?;
    let advice = match blind.reason() {
        // With no pods there is nothing to scale, and that is as it should be.
        "ScalingDisabled" => return None,
        "FailedGetResourceMetric" => {
            "it needs metrics-server, which takes about a minute to know a new pod: check that it runs, and that \
             the containers say what they ask for (resources.requests)"
        }
        "FailedGetExternalMetric" => {
            "it needs metrics.enabled, or prometheus-adapter: check that the APIService \
             v1beta1.external.metrics.k8s.io is available"
        }
        "FailedGetScale" => "what it scales is not there: check its scaleTargetRef",
        _ => "until it sees again, the number of pods stays as it is: `shopctl scale` changes it by hand",
    };
    let way = trail.to(object, blind.reason());
    Some(Cause::new(way, Reason::Autoscaler, blind.told(), advice))
}

pub(super) fn claim(snapshot: &Snapshot, object: &Object, trail: &Trail) -> Option<Cause> {
    let phase = object.text("/status/phase").unwrap_or("not looked at yet");
    if phase == "Bound" {
        return None;
    }
    let event = snapshot.newest_event(object, |event| {
        matches!(event.reason(), "ProvisioningFailed" | "FailedBinding" | "WaitForFirstConsumer")
    });
    let class = object.text("/spec/storageClassName").filter(|class| !class.is_empty());
    let message = event.map(|event| event.message()).unwrap_or_default();
    let advice = match (event.map(|event| event.reason()), class) {
        _ if phase == "Lost" => {
            "the volume was deleted under it, and what was on it with it: restore a backup".to_owned()
        }
        (Some("WaitForFirstConsumer"), _) => {
            "its class gives out a volume when a pod that uses it finds a node: look at that pod".to_owned()
        }
        (_, None) => {
            "there is no default StorageClass: name one (persistence.storageClass), or make one the default"
                .to_owned()
        }
        (_, Some(class)) if message.contains("not found") => {
            format!("there is no StorageClass {class}: name one that is there (persistence.storageClass)")
        }
        (_, Some(class)) => {
            format!("whoever makes volumes of the class {class} did not: look at its provisioner")
        }
    };
    Some(Cause::new(trail.to(object, phase), Reason::ClaimPending, message, advice))
}

pub(super) fn node(object: &Object, trail: &Trail) -> Option<Cause> {
    let ready = condition(object, "Ready").filter(|ready| !ready.is_true())?;
    let advice = "its pods are made anew elsewhere once their toleration ends (scheduling.lostNodeSeconds); look at \
                  the machine, or take it out of the cluster";
    Some(Cause::new(trail.to(object, "not ready"), Reason::NodeNotReady, ready.told(), advice))
}

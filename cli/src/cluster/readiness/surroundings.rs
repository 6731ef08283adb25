//! What stands around the pods: Services, Ingresses, autoscalers, budgets, and the kinds that others bring.

use serde_json::Value;

use super::conditions::condition;
use super::status::Status;
use crate::cluster::object::Object;

/// Current when it has its address: a LoadBalancer's is given from outside, and only waited for with `lb_wait`.
pub(super) fn service(object: &Object, lb_wait: bool) -> Status {
    if object.text("/spec/type") != Some("LoadBalancer") || !lb_wait {
        return Status::Current;
    }
    if object.text("/spec/clusterIP").unwrap_or_default().is_empty() {
        return Status::waits("it has no address in the cluster yet");
    }
    balanced(object)
}

pub(super) fn ingress(object: &Object, lb_wait: bool) -> Status {
    if lb_wait { balanced(object) } else { Status::Current }
}

fn balanced(object: &Object) -> Status {
    let given = object.at("/status/loadBalancer/ingress").and_then(Value::as_array);
    match given {
        Some(given) if !given.is_empty() => Status::Current,
        _ => Status::waits("the load balancer has no address yet"),
    }
}

/// Current when it can read what it scales and what it scales by. With no pods it is switched off, which is no fault.
pub(super) fn autoscaler(object: &Object) -> Status {
    let Some(able) = condition(object, "AbleToScale") else {
        return Status::waits("its controller has not looked at it yet");
    };
    if able.is_false() {
        return Status::waits(able.told());
    }
    match condition(object, "ScalingActive") {
        Some(active) if active.is_true() || active.reason() == "ScalingDisabled" => Status::Current,
        Some(active) => Status::waits(active.told()),
        None => Status::waits("it has no figures to scale by yet"),
    }
}

/// Current when it was computed. That it allows no disruption now is its job.
pub(super) fn disruption_budget(object: &Object) -> Status {
    if object.number("/status/observedGeneration").is_none() {
        return Status::waits("its controller has not looked at it yet");
    }
    match condition(object, "DisruptionAllowed") {
        Some(allowed) if allowed.reason() == "SyncFailed" => Status::waits(allowed.told()),
        _ => Status::Current,
    }
}

pub(super) fn api_service(object: &Object) -> Status {
    match condition(object, "Available") {
        Some(available) if available.is_true() => Status::Current,
        Some(available) => Status::waits(available.told()),
        None => Status::waits("its controller has not looked at it yet"),
    }
}

pub(super) fn definition(object: &Object) -> Status {
    if let Some(names) = condition(object, "NamesAccepted").filter(|names| names.is_false()) {
        return Status::failed(names.told());
    }
    match condition(object, "Established") {
        Some(established) if established.is_true() => Status::Current,
        Some(established) if established.is_false() && established.reason() != "Installing" => {
            Status::failed(established.told())
        }
        _ => Status::waits("its kind is not served yet"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Circumstances, status, status_under};
    use super::*;

    fn object(version: &str, kind: &str, spec: &Value, status: &Value) -> Object {
        Object::new(json!({
            "apiVersion": version, "kind": kind, "metadata": {"name": "x", "generation": 1},
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn conditions(all: &[(&str, &str, &str)]) -> Value {
        let all: Vec<Value> = all
            .iter()
            .map(|(kind, status, reason)| json!({"type": kind, "status": status, "reason": reason}))
            .collect();
        json!({"conditions": all})
    }

    /// Each case: the status of the object, and why it waits; empty for current, with `!` in front for failed.
    fn judged(version: &str, kind: &str, cases: &[(Value, &str)]) {
        for (given, expected) in cases {
            let found = match status(&object(version, kind, &json!({}), given), None) {
                Status::Current => String::new(),
                Status::Failed { why } => format!("!{why}"),
                other => other.to_string(),
            };
            assert_eq!(found, *expected, "{kind} {given}");
        }
    }

    #[test]
    fn a_load_balancer_has_its_address() {
        let none = "the load balancer has no address yet";
        let address = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        let cases = [
            (json!({"type": "ClusterIP"}), json!({}), ""),
            (json!({}), json!({}), ""),
            (json!({"type": "LoadBalancer"}), json!({}), "it has no address in the cluster yet"),
            (json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1"}), json!({"loadBalancer": {}}), none),
            (json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1"}), address.clone(), ""),
        ];
        let careless = Circumstances { lb_wait: false, ..Circumstances::default() };
        for (spec, given, expected) in cases {
            let service = object("v1", "Service", &spec, &given);
            let expected = if expected.is_empty() { Status::Current } else { Status::waits(expected) };
            assert_eq!(status(&service, None), expected, "{spec} {given}");
            assert_eq!(status_under(&service, &careless), Status::Current, "{spec} {given}");
        }
        judged("networking.k8s.io/v1", "Ingress", &[(json!({}), none), (address, "")]);
        let waiting = object("networking.k8s.io/v1", "Ingress", &json!({}), &json!({}));
        assert_eq!(status_under(&waiting, &careless), Status::Current);
    }

    #[test]
    fn an_autoscaler_can_read_what_it_scales_by() {
        let cases = [
            (json!({}), "its controller has not looked at it yet"),
            (conditions(&[("AbleToScale", "False", "FailedGetScale")]), "FailedGetScale"),
            (conditions(&[("AbleToScale", "True", "")]), "it has no figures to scale by yet"),
            (
                conditions(&[
                    ("AbleToScale", "True", ""),
                    ("ScalingActive", "False", "FailedGetResourceMetric"),
                ]),
                "FailedGetResourceMetric",
            ),
            (conditions(&[("AbleToScale", "True", ""), ("ScalingActive", "False", "ScalingDisabled")]), ""),
            (conditions(&[("AbleToScale", "True", ""), ("ScalingActive", "True", "ValidMetricFound")]), ""),
        ];
        judged("autoscaling/v2", "HorizontalPodAutoscaler", &cases);
    }

    #[test]
    fn a_budget_was_computed() {
        let with = |reason: &str| {
            let mut status = conditions(&[("DisruptionAllowed", "False", reason)]);
            status["observedGeneration"] = json!(1);
            status
        };
        let cases = [
            (json!({}), "its controller has not looked at it yet"),
            (with("InsufficientPods"), ""),
            (with("SyncFailed"), "SyncFailed"),
        ];
        judged("policy/v1", "PodDisruptionBudget", &cases);
    }

    #[test]
    fn kinds_that_others_bring_are_served() {
        let cases = [
            (json!({}), "its controller has not looked at it yet"),
            (conditions(&[("Available", "False", "MissingEndpoints")]), "MissingEndpoints"),
            (conditions(&[("Available", "True", "Passed")]), ""),
        ];
        judged("apiregistration.k8s.io/v1", "APIService", &cases);
        let cases = [
            (json!({}), "its kind is not served yet"),
            (conditions(&[("Established", "False", "Installing")]), "its kind is not served yet"),
            (conditions(&[("Established", "False", "NotAccepted")]), "!NotAccepted"),
            (conditions(&[("NamesAccepted", "False", "ListKindConflict")]), "!ListKindConflict"),
            (conditions(&[("NamesAccepted", "True", ""), ("Established", "True", "")]), ""),
        ];
        judged("apiextensions.k8s.io/v1", "CustomResourceDefinition", &cases);
    }
}

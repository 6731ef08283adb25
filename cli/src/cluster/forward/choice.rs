//! Which pods a Service would send to now, and on which of their ports.

use std::collections::BTreeMap;

use serde_json::Value;

use super::trouble::Trouble;
use crate::cluster::object::{Key, Object};
use crate::cluster::readiness::condition;

/// A pod that takes connections, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Door {
    pub(super) pod: String,
    pub(super) port: u16,
}

/// The ready pods behind `port` (a name or a number) of `service`, by name.
pub(super) fn behind(
    objects: &BTreeMap<Key, Object>,
    service: &str,
    port: &str,
) -> Result<Vec<Door>, Trouble> {
    let found = objects.values().find(|object| object.kind() == "Service" && object.name() == service);
    let found = found.ok_or_else(|| Trouble::NoService(service.to_owned()))?;
    let no_port = || Trouble::NoPort { service: service.to_owned(), port: port.to_owned() };
    let target = target(found, port).ok_or_else(no_port)?;
    let ready: Vec<&Object> = objects
        .values()
        .filter(|object| object.kind() == "Pod" && selects(found, object) && is_ready(object))
        .collect();
    if ready.is_empty() {
        return Err(Trouble::NoneReady(service.to_owned()));
    }
    let door = |pod: &&Object| Some(Door { pod: pod.name().to_owned(), port: port_of(pod, &target)? });
    let doors: Vec<Door> = ready.iter().filter_map(door).collect();
    if doors.is_empty() { Err(no_port()) } else { Ok(doors) }
}

/// Whether `pod` takes requests, and nobody told it to end.
pub(super) fn is_ready(pod: &Object) -> bool {
    pod.at("/metadata/deletionTimestamp").is_none()
        && condition(pod, "Ready").is_some_and(|ready| ready.is_true())
}

/// The number of the port that `pod` calls `name`.
pub(super) fn named_port(pod: &Object, name: &str) -> Option<u16> {
    let containers = pod.at("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let mut ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    ports.find(|port| port["name"] == name).and_then(|port| number(&port["containerPort"]))
}

/// Where the Service's port leads: a number, or a name that each pod gives its own.
fn target(service: &Object, port: &str) -> Option<Value> {
    let ports = service.at("/spec/ports").and_then(Value::as_array)?;
    let is_number = |one: &Value| port.parse::<u64>().is_ok_and(|number| one["port"] == number);
    let found = ports.iter().find(|one| one["name"] == port || is_number(one))?;
    Some(found.get("targetPort").unwrap_or(&found["port"]).clone())
}

fn port_of(pod: &Object, target: &Value) -> Option<u16> {
    match target.as_str() {
        Some(name) => named_port(pod, name),
        None => number(target),
    }
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|number| u16::try_from(number).ok())
}

/// A Service without a selector selects nothing: somebody else says where it leads.
fn selects(service: &Object, pod: &Object) -> bool {
    let selector = service.at("/spec/selector").and_then(Value::as_object);
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(name, value)| pod.label(name) == value.as_str())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects(all: &[Value]) -> BTreeMap<Key, Object> {
        let object = |value: &Value| Object::new(value.clone()).unwrap();
        all.iter().map(object).map(|object| (object.key().clone(), object)).collect()
    }

    fn service(target: Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "gateway"},
            "spec": {
                "selector": {"app": "gateway", "slot": "a"},
                "ports": [{"name": "http", "port": 80, "targetPort": target}, {"name": "metrics", "port": 9090}],
            },
        })
    }

    fn pod(name: &str, slot: &str, ready: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "gateway", "slot": slot, "more": "yes"}},
            "spec": {"containers": [{"name": "side"}, {"ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    fn door(pod: &str, port: u16) -> Door {
        Door { pod: pod.to_owned(), port }
    }

    #[test]
    fn only_ready_pods_of_the_selector_are_behind_a_service() {
        let mut ending = pod("ending", "a", "True");
        ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let all = objects(&[
            service(json!("http")),
            pod("one", "a", "True"),
            pod("two", "a", "True"),
            pod("starting", "a", "False"),
            pod("other-slot", "b", "True"),
            ending,
        ]);
        assert_eq!(behind(&all, "gateway", "http").unwrap(), [door("one", 8080), door("two", 8080)]);
        assert_eq!(behind(&all, "gateway", "80").unwrap().len(), 2, "a port is named by its number too");
        assert_eq!(
            behind(&all, "gateway", "metrics").unwrap()[0],
            door("one", 9090),
            "where no target is named"
        );
    }

    #[test]
    fn a_target_may_be_a_number_or_a_name_that_nobody_has() {
        let ready = || pod("one", "a", "True");
        let all = objects(&[service(json!(8081)), ready()]);
        assert_eq!(behind(&all, "gateway", "http").unwrap(), [door("one", 8081)]);
        let all = objects(&[service(json!("nothing")), ready()]);
        let no_port = |port: &str| Trouble::NoPort { service: "gateway".to_owned(), port: port.to_owned() };
        assert_eq!(behind(&all, "gateway", "http").unwrap_err(), no_port("http"));
        assert_eq!(behind(&all, "gateway", "grpc").unwrap_err(), no_port("grpc"));
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        assert_eq!(
            behind(&objects(&[]), "gateway", "http").unwrap_err(),
            Trouble::NoService("gateway".to_owned())
        );
        let none_ready = objects(&[service(json!("http")), pod("one", "a", "False")]);
        assert_eq!(
            behind(&none_ready, "gateway", "http").unwrap_err(),
            Trouble::NoneReady("gateway".to_owned())
        );
        let mut unselecting = service(json!("http"));
        unselecting["spec"]["selector"] = json!({});
        let all = objects(&[unselecting, pod("one", "a", "True")]);
        assert_eq!(behind(&all, "gateway", "http").unwrap_err(), Trouble::NoneReady("gateway".to_owned()));
    }
}

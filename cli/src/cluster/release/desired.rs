//! What was rendered, sorted by whose it is.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ReleaseError;
use crate::cluster::object::Object;
use crate::cluster::rollout::{Selector, Slot};

/// The annotation that says which revision a Deployment is of. It is not in the pods' template: a record changes no pod.
pub const REVISION: &str = "shopctl.dev/revision";
const SLOT: &str = "shopctl.dev/slot";
const NAME: &str = "app.kubernetes.io/name";
const COMPONENT: &str = "app.kubernetes.io/component";

/// A shop's objects.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// Those that belong to no slot: accounts, secrets, policies, the database.
    pub shared: Vec<Object>,
    /// The Job that brings tables up to date, and what it needs.
    pub prepare: Vec<Object>,
    /// Each service's.
    pub services: BTreeMap<String, ServiceObjects>,
}

/// The objects of one service that a release changes.
#[derive(Clone, Debug, Default)]
pub struct ServiceObjects {
    /// Its Service.
    pub service: Option<Object>,
    /// Its preview Service.
    pub preview: Option<Object>,
    /// Deployments, ConfigMaps and autoscalers of both slots.
    pub slots: Vec<Object>,
}

impl Desired {
    /// Sorts `objects`.
    #[must_use]
    pub fn sorted(objects: Vec<Object>) -> Self {
        let mut desired = Self::default();
        for object in objects {
            let name = object.label(NAME).unwrap_or_default().to_owned();
            match (object.label(COMPONENT), object.kind()) {
                (Some("prepare"), "Job" | "ConfigMap") => desired.prepare.push(object),
                (Some("service"), _) if object.label(SLOT).is_some() => desired.of(name).slots.push(object),
                (Some("service"), "Service") => desired.of(name).service = Some(object),
                (Some("preview"), _) => desired.of(name).preview = Some(object),
                _ => desired.shared.push(object),
            }
        }
        desired
    }

    fn of(&mut self, service: String) -> &mut ServiceObjects {
        self.services.entry(service).or_default()
    }

    /// The name of the Job that brings tables up to date.
    #[must_use]
    pub fn job(&self) -> Option<&Object> {
        self.prepare.iter().find(|object| object.kind() == "Job")
    }
}

impl ServiceObjects {
    /// Those that `objects` has, as a revision keeps them.
    #[must_use]
    pub fn of_slots(objects: Vec<Object>) -> Self {
        let (slots, others): (Vec<_>, Vec<_>) =
            objects.into_iter().partition(|object| object.label(SLOT).is_some());
        let preview = others.into_iter().find(|object| object.label(COMPONENT) == Some("preview"));
        Self { service: None, preview, slots }
    }

    /// What a revision keeps.
    #[must_use]
    pub fn kept(&self) -> Vec<Object> {
        self.slots.iter().chain(&self.preview).cloned().collect()
    }

    /// The object of `kind` of `slot`.
    #[must_use]
    pub fn of(&self, slot: Slot, kind: &str) -> Option<&Object> {
        self.slots.iter().find(|object| object.kind() == kind && object.label(SLOT) == Some(slot.name()))
    }

    /// The Deployment of `slot`, marked as of `revision`, without a number of pods: that is set by itself, so that an
    /// autoscaler can have it.
    ///
    /// # Errors
    /// When none was rendered.
    pub fn deployment(&self, service: &str, slot: Slot, revision: u64) -> Result<Object, ReleaseError> {
        let missing = || ReleaseError::NotRendered { service: service.to_owned(), what: "Deployment" };
        let mut deployment = self.of(slot, "Deployment").cloned().ok_or_else(missing)?;
        let value = deployment.value_mut();
        if let Some(spec) = value["spec"].as_object_mut() {
            spec.remove("replicas");
        }
        if !value["metadata"]["annotations"].is_object() {
            value["metadata"]["annotations"] = json!({});
        }
        value["metadata"]["annotations"][REVISION] = revision.to_string().into();
        Ok(deployment)
    }

    /// How many pods the service is to have; absent when an autoscaler says so.
    #[must_use]
    pub fn replicas(&self) -> Option<u32> {
        let deployment = Slot::ALL.into_iter().find_map(|slot| self.of(slot, "Deployment"))?;
        deployment.number("/spec/replicas").and_then(|replicas| u32::try_from(replicas).ok())
    }

    /// The image of its pods.
    #[must_use]
    pub fn image(&self) -> &str {
        let deployment = Slot::ALL.into_iter().find_map(|slot| self.of(slot, "Deployment"));
        deployment.and_then(|one| one.text("/spec/template/spec/containers/0/image")).unwrap_or_default()
    }

    /// The Service with `selector`, written whole.
    ///
    /// # Errors
    /// When none was rendered.
    pub fn service(&self, service: &str, selector: Selector) -> Result<Object, ReleaseError> {
        let missing = || ReleaseError::NotRendered { service: service.to_owned(), what: "Service" };
        let mut object = self.service.clone().ok_or_else(missing)?;
        object.value_mut()["spec"]["selector"] = written(service, selector);
        Ok(object)
    }

    /// The preview Service over `slot`.
    #[must_use]
    pub fn preview(&self, service: &str, slot: Slot) -> Option<Object> {
        let mut object = self.preview.clone()?;
        object.value_mut()["spec"]["selector"] = written(service, Selector::Narrow(slot));
        Some(object)
    }
}

fn written(service: &str, selector: Selector) -> Value {
    match selector {
        Selector::Narrow(slot) => json!({NAME: service, SLOT: slot.name()}),
        Selector::Wide => json!({NAME: service}),
    }
}

/// What `service` selects; absent when that is neither one slot nor both.
#[must_use]
pub fn selector_of(service: &Object) -> Option<Selector> {
    let map = service.at("/spec/selector")?.as_object()?;
    let name = map.get(NAME)?.as_str()?;
    match (map.len(), map.get(SLOT).and_then(Value::as_str)) {
        _ if name != service.name() => None,
        (1, None) => Some(Selector::Wide),
        (2, Some(word)) => slot_named(word).map(Selector::Narrow),
        _ => None,
    }
}

/// The slot whose label is `word`.
#[must_use]
pub fn slot_named(word: &str) -> Option<Slot> {
    Slot::ALL.into_iter().find(|slot| slot.name() == word)
}

/// The slot that an object belongs to.
#[must_use]
pub fn slot_of(object: &Object) -> Option<Slot> {
    object.label(SLOT).and_then(slot_named)
}

/// The revision that a Deployment was applied with.
#[must_use]
pub fn revision_of(deployment: &Object) -> Option<u64> {
    deployment.annotation(REVISION)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, name: &str, labels: Value, spec: Value) -> Object {
        let metadata = json!({"name": name, "namespace": "shop", "labels": labels});
        Object::new(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec})).unwrap()
    }

    fn desired() -> Desired {
        let of_slot = |slot: &str| json!({NAME: "order", COMPONENT: "service", SLOT: slot});
        let pods = json!({"replicas": 2, "template": {"spec": {"containers": [{"image": "shop:1"}]}}});
        Desired::sorted(vec![
            object("ServiceAccount", "order", json!({NAME: "order", COMPONENT: "service"}), json!({})),
            object("Deployment", "order-a", of_slot("a"), pods.clone()),
            object("Deployment", "order-b", of_slot("b"), pods),
            object("ConfigMap", "order-a", of_slot("a"), json!({})),
            object("Service", "order", json!({NAME: "order", COMPONENT: "service"}), json!({"selector": {}})),
            object("Service", "order-preview", json!({NAME: "order", COMPONENT: "preview"}), json!({})),
            object("Job", "prepare-1", json!({NAME: "prepare", COMPONENT: "prepare"}), json!({})),
        ])
    }

    #[test]
    fn objects_are_sorted_by_whose_they_are() {
        let desired = desired();
        assert_eq!(desired.shared.iter().map(Object::kind).collect::<Vec<_>>(), ["ServiceAccount"]);
        assert_eq!(desired.job().unwrap().name(), "prepare-1");
        let order = &desired.services["order"];
        assert_eq!((order.slots.len(), order.replicas(), order.image()), (3, Some(2), "shop:1"));
        assert_eq!(order.of(Slot::B, "Deployment").unwrap().name(), "order-b");
    }

    #[test]
    fn a_deployment_names_its_revision_and_no_number_of_pods() {
        let deployment = desired().services["order"].deployment("order", Slot::A, 7).unwrap();
        assert_eq!((revision_of(&deployment), deployment.number("/spec/replicas")), (Some(7), None));
        assert!(deployment.at("/spec/template/metadata").is_none(), "its pods do not change with it");
    }

    #[test]
    fn what_is_written_as_a_selector_is_read_again() {
        let order = &desired().services["order"];
        for selector in [Selector::Wide, Selector::Narrow(Slot::A), Selector::Narrow(Slot::B)] {
            assert_eq!(selector_of(&order.service("order", selector).unwrap()), Some(selector));
        }
        let odd = object("Service", "order", json!({}), json!({"selector": {NAME: "order", "other": "x"}}));
        assert_eq!(selector_of(&odd), None);
    }
}

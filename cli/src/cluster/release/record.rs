//! What the last deploy made of all that belongs to no service's pods, as it was rendered for it: what the pods are made of
//! is in each service's revision. It is not rendered again, since values and chart may have changed since, and some of them
//! may have been given on a command line.
//!
//! No value of a Secret is kept, only which names it has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::desired::{Desired, slot_of};
use crate::cluster::MANAGER;
use crate::cluster::api::{Api, ApiError, Applying};
use crate::cluster::object::Object;
use crate::cluster::packed::{BYTES_MAX, pack, unpack};

const NAME: &str = "shopctl-deployed";
const SECRET: (&str, &str) = ("v1", "Secret");

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// What was rendered does not fit.
    #[error("the rendered objects are {0} bytes compressed, and a Secret holds {BYTES_MAX}")]
    TooLarge(usize),
    /// Somebody edited it.
    #[error("what the last deploy made, in Secret/{NAME}, cannot be read")]
    Unreadable(#[source] anyhow::Error),
    /// The cluster refused it or did not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// What the last deploy made.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// All of it, sorted by whose it is. Secrets have names and no values.
    pub made: Desired,
}

impl Record {
    /// What a deploy of all of `desired` makes. What brings tables up to date is no part of it: once it ran it may go.
    #[must_use]
    pub fn of(desired: &Desired) -> Self {
        let mut made = desired.clone();
        made.shared = made.shared.into_iter().map(without_values).collect();
        made.prepare.clear();
        Self { made }
    }

    /// What is so after a deploy of `desired` that brought out only the services `only`; none means all, and what is
    /// everybody's.
    #[must_use]
    pub fn after(self, desired: &Desired, only: &[String]) -> Self {
        let mut next = Self::of(desired);
        if only.is_empty() {
            return next;
        }
        next.made.shared = self.made.shared;
        for (service, objects) in &mut next.made.services {
            // Its Service is always applied; the autoscaler of one that was not brought out stays.
            if let Some(before) = self.made.services.get(service).filter(|_| !only.contains(service)) {
                objects.slots.clone_from(&before.slots);
            }
        }
        next
    }

    /// The record of `namespace`; absent when no deploy left one.
    ///
    /// # Errors
    /// When it cannot be read; when the cluster refuses or does not answer.
    pub async fn load(api: &Api, namespace: &str) -> Result<Option<Self>, RecordError> {
        let Some(secret) = api.get(SECRET, namespace, NAME).await? else { return Ok(None) };
        let objects = unpack(secret.text("/data/objects").unwrap_or_default());
        Ok(Some(Self { made: Desired::sorted(objects.map_err(RecordError::Unreadable)?) }))
    }

    /// Writes it down.
    ///
    /// # Errors
    /// When it does not fit; when the cluster refuses or does not answer.
    pub async fn save(&self, api: &Api, namespace: &str) -> Result<(), RecordError> {
        let packed = pack(&self.objects()).map_err(RecordError::Unreadable)?;
        if packed.len() > BYTES_MAX {
            return Err(RecordError::TooLarge(packed.len()));
        }
        let value = json!({
            "apiVersion": SECRET.0,
            "kind": SECRET.1,
            "type": "shopctl.dev/deployed.v1",
            "metadata": {
                "name": NAME,
                "namespace": namespace,
                "labels": {"app.kubernetes.io/managed-by": "shopctl"},
            },
            "data": {"objects": STANDARD.encode(packed)},
        });
        let secret = Object::new(value).expect("it has all that an object has");
        api.apply(&secret, Applying { manager: MANAGER, is_dry: false, takes_over: true }).await?;
        Ok(())
    }

    /// All that is kept. Of what belongs to a slot only the autoscaler: the rest is in the revisions.
    fn objects(&self) -> Vec<Object> {
        let mut all = self.made.shared.clone();
        for objects in self.made.services.values() {
            all.extend(objects.service.iter().chain(&objects.preview).cloned());
            let is_kept =
                |object: &&Object| slot_of(object).is_none() || object.kind() == "HorizontalPodAutoscaler";
            all.extend(objects.slots.iter().filter(is_kept).cloned());
        }
        all
    }
}

/// Takes the record of `namespace` away: there is nothing left that it could be of.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn forget(api: &Api, namespace: &str) -> Result<(), ApiError> {
    api.delete(SECRET, namespace, NAME, None).await
}

/// A Secret with its names alone; anything else as it is.
fn without_values(mut object: Object) -> Object {
    if object.kind() == "Secret" {
        for part in ["data", "stringData"] {
            let values = object.value_mut().get_mut(part).and_then(Value::as_object_mut);
            values.into_iter().flat_map(|values| values.values_mut()).for_each(|value| *value = Value::Null);
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, name: &str, labels: Value, rest: Value) -> Object {
        let mut value =
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": labels}});
        for (name, part) in rest.as_object().unwrap() {
            value[name] = part.clone();
        }
        Object::new(value).unwrap()
    }

    fn labels(service: &str, slot: Option<&str>) -> Value {
        let mut labels = json!({"app.kubernetes.io/name": service, "app.kubernetes.io/component": "service"});
        if let Some(slot) = slot {
            labels["shopctl.dev/slot"] = slot.into();
        }
        labels
    }

    fn shop(version: u32) -> Desired {
        let mut all = vec![
            object("Secret", "keys", json!({}), json!({"data": {"password": "c2VjcmV0"}})),
            object("ConfigMap", "all", json!({}), json!({"data": {"version": version}})),
        ];
        for service in ["order", "user"] {
            all.push(object(
                "Service",
                service,
                labels(service, None),
                json!({"spec": {"version": version}}),
            ));
            for kind in ["Deployment", "HorizontalPodAutoscaler"] {
                let spec = json!({"spec": {"version": version}});
                all.push(object(kind, &format!("{service}-a"), labels(service, Some("a")), spec));
            }
        }
        Desired::sorted(all)
    }

    #[test]
    fn neither_values_of_secrets_nor_what_revisions_keep_is_written_down() {
        let kept = Record::of(&shop(1)).objects();
        let secret = kept.iter().find(|object| object.kind() == "Secret").unwrap();
        assert_eq!(secret.at("/data"), Some(&json!({"password": null})));
        assert!(!kept.iter().any(|object| object.kind() == "Deployment"));
        assert_eq!(kept.iter().filter(|object| object.kind() == "HorizontalPodAutoscaler").count(), 2);
    }

    #[test]
    fn a_deploy_of_one_service_leaves_the_record_of_the_others() {
        let after = Record::of(&shop(1)).after(&shop(2), &["order".to_owned()]);
        let version = |kind: &str, name: &str| {
            let all = after.objects();
            let found = all.iter().find(|object| (object.kind(), object.name()) == (kind, name)).unwrap();
            found.number("/spec/version").or(found.number("/data/version"))
        };
        assert_eq!(version("ConfigMap", "all"), Some(1), "what is everybody's was not applied");
        assert_eq!(version("Service", "user"), Some(2), "Services always are");
        assert_eq!(version("HorizontalPodAutoscaler", "user-a"), Some(1));
        assert_eq!(version("HorizontalPodAutoscaler", "order-a"), Some(2));
        let whole = Record::of(&shop(1)).after(&shop(2), &[]);
        assert_eq!(whole.made.shared[1].number("/data/version"), Some(2));
    }
}

//! Claims to a volume.

use serde_json::Value;

use super::status::Status;
use crate::cluster::object::Object;

/// Bound; or pending, when its class gives out volumes only to pods and there is no pod yet.
pub(super) fn claim(object: &Object, awaits_first_consumer: bool) -> Status {
    match object.text("/status/phase").unwrap_or_default() {
        "Bound" => Status::Current,
        "Pending" if awaits_first_consumer => Status::Current,
        "Lost" => Status::failed("the volume that it was bound to is gone"),
        _ => Status::waits("it is not bound to a volume yet"),
    }
}

/// Whether `claim` is pending because its class gives out a volume only when a pod uses it, and none of `pods` does.
/// `class` is its StorageClass; without it nothing is known, and the answer is no.
#[must_use]
pub fn awaits_first_consumer<'a>(
    claim: &Object,
    class: Option<&Object>,
    pods: impl IntoIterator<Item = &'a Object>,
) -> bool {
    let is_late = class.and_then(|class| class.text("/volumeBindingMode")) == Some("WaitForFirstConsumer");
    is_late && !pods.into_iter().any(|pod| mounts(pod, claim))
}

fn mounts(pod: &Object, claim: &Object) -> bool {
    let volumes = pod.at("/spec/volumes").and_then(Value::as_array);
    pod.key().namespace == claim.key().namespace
        && volumes.is_some_and(|all| {
            all.iter().any(|volume| {
                let name = volume.pointer("/persistentVolumeClaim/claimName").and_then(Value::as_str);
                name == Some(claim.name())
            })
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Circumstances, status, status_under};
    use super::*;

    fn object(kind: &str, name: &str, rest: &Value) -> Object {
        let mut value = rest.clone();
        value["apiVersion"] = json!("v1");
        value["kind"] = json!(kind);
        value["metadata"] = json!({"name": name, "namespace": "shop"});
        Object::new(value).unwrap()
    }

    fn in_phase(phase: &str) -> Object {
        object("PersistentVolumeClaim", "data", &json!({"status": {"phase": phase}}))
    }

    #[test]
    fn a_claim_is_bound_or_waits() {
        assert_eq!(status(&in_phase("Bound"), None), Status::Current);
        assert_eq!(status(&in_phase("Pending"), None), Status::waits("it is not bound to a volume yet"));
        assert!(matches!(status(&in_phase("Lost"), None), Status::Failed { .. }));
    }

    #[test]
    fn a_claim_that_nobody_uses_yet_waits_for_nothing() {
        let class = |mode: &str| object("StorageClass", "local", &json!({"volumeBindingMode": mode}));
        let (late, early) = (class("WaitForFirstConsumer"), class("Immediate"));
        let uses = |claim: &str| {
            let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": claim}});
            object("Pod", "p", &json!({"spec": {"volumes": [{"name": "tmp", "emptyDir": {}}, volume]}}))
        };
        let claim = in_phase("Pending");
        let cases = [
            (Some(&late), vec![], true),
            (Some(&late), vec![uses("other")], true),
            (Some(&late), vec![uses("data")], false),
            (Some(&early), vec![], false),
            (None, vec![], false),
        ];
        for (class, pods, expected) in cases {
            assert_eq!(awaits_first_consumer(&claim, class, &pods), expected, "{class:?} {pods:?}");
        }
        let circumstances = Circumstances { awaits_first_consumer: true, ..Circumstances::default() };
        assert_eq!(status_under(&claim, &circumstances), Status::Current);
    }
}

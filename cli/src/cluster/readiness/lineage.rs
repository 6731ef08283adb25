//! Which object made which.

use serde_json::Value;

use crate::cluster::object::Object;

/// Where the Deployment's controller writes down which change of the pod template a ReplicaSet belongs to.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// Whether the object with the id `uid` made `object`.
pub(in crate::cluster) fn is_owned_by(object: &Object, uid: &str) -> bool {
    let owners = object.at("/metadata/ownerReferences").and_then(Value::as_array);
    owners.is_some_and(|all| all.iter().any(|owner| owner.get("uid").and_then(Value::as_str) == Some(uid)))
}

/// The ReplicaSet with the pods that `deployment` wants now; none as long as its controller has not seen what it wants
/// now, since what is newest then is not what was applied.
#[must_use]
pub fn new_replica_set<'a>(
    deployment: &Object,
    objects: impl IntoIterator<Item = &'a Object>,
) -> Option<&'a Object> {
    if deployment.number("/status/observedGeneration")? < deployment.number("/metadata/generation")? {
        return None;
    }
    let (uid, revision) = (deployment.uid()?, deployment.annotation(REVISION)?);
    objects.into_iter().find(|object| {
        object.kind() == "ReplicaSet"
            && is_owned_by(object, uid)
            && object.annotation(REVISION) == Some(revision)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replica_set(name: &str, owner: &str, revision: &str) -> Object {
        Object::new(json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": name, "annotations": {REVISION: revision},
                "ownerReferences": [{"kind": "Deployment", "uid": owner, "controller": true}],
            },
        }))
        .unwrap()
    }

    fn deployment(generation: i64, observed: i64) -> Object {
        Object::new(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "order-a", "uid": "d1", "generation": generation, "annotations": {REVISION: "3"},
            },
            "status": {"observedGeneration": observed},
        }))
        .unwrap()
    }

    #[test]
    fn the_new_replica_set_is_known_once_the_controller_has_seen_the_change() {
        let all =
            [replica_set("old", "d1", "2"), replica_set("other", "d2", "3"), replica_set("new", "d1", "3")];
        assert_eq!(new_replica_set(&deployment(5, 5), &all).map(Object::name), Some("new"));
        assert_eq!(new_replica_set(&deployment(6, 5), &all), None);
    }
}

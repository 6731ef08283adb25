//! What the controllers of a cluster do, at once and always well, but for images that are not there.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher as _};

use serde_json::{Value, json};

use super::route::path;

type Objects = BTreeMap<String, Value>;

/// Brings all objects to where their controllers would bring them.
pub(super) fn work(objects: &mut Objects, missing_images: &BTreeSet<String>) {
    collect_garbage(objects);
    for deployment in of_kind(objects, "Deployment") {
        deploy(objects, deployment, missing_images);
    }
    for set in of_kind(objects, "StatefulSet") {
        keep_set(objects, set);
    }
    for mut job in of_kind(objects, "Job") {
        job["status"] = json!({"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]});
        put(objects, job);
    }
    collect_garbage(objects);
    for service in of_kind(objects, "Service") {
        serve(objects, &service);
    }
}

fn of_kind(objects: &Objects, kind: &str) -> Vec<Value> {
    objects.values().filter(|object| object["kind"] == kind).cloned().collect()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn put(objects: &mut Objects, object: Value) {
    let own = path(
        text(&object, "/apiVersion"),
        text(&object, "/kind"),
        text(&object, "/metadata/namespace"),
        text(&object, "/metadata/name"),
    );
    match objects.get_mut(&own) {
        // What is there keeps what the server gave it.
        Some(live) => {
            let mut object = object;
            for name in ["uid", "resourceVersion", "creationTimestamp", "generation"] {
                if object["metadata"][name].is_null() && !live["metadata"][name].is_null() {
                    object["metadata"][name] = live["metadata"][name].clone();
                }
            }
            *live = object;
        }
        None => {
            let mut object = object;
            object["metadata"]["uid"] = format!("uid-{own}-{}", objects.len()).into();
            object["metadata"]["creationTimestamp"] = "2026-11-30T10:00:00Z".into();
            objects.insert(own, object);
        }
    }
}

/// Takes away what is owned by nobody that is there.
fn collect_garbage(objects: &mut Objects) {
    loop {
        let uids: BTreeSet<String> =
            objects.values().map(|object| text(object, "/metadata/uid").to_owned()).collect();
        let before = objects.len();
        objects.retain(|_, object| {
            let owner = object.pointer("/metadata/ownerReferences/0/uid").and_then(Value::as_str);
            owner.is_none_or(|owner| uids.contains(owner))
        });
        if objects.len() == before {
            return;
        }
    }
}

fn owner(of: &Value) -> Value {
    json!([{"kind": of["kind"], "name": of["metadata"]["name"], "uid": of["metadata"]["uid"], "controller": true}])
}

fn deploy(objects: &mut Objects, mut deployment: Value, missing_images: &BTreeSet<String>) {
    let template = deployment["spec"]["template"].clone();
    let mut hasher = DefaultHasher::new();
    template.to_string().hash(&mut hasher);
    let hash = format!("{:08x}", hasher.finish() & 0xffff_ffff);
    let replicas = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
    deployment["spec"]["replicas"] = replicas.into();
    let name = format!("{}-{hash}", text(&deployment, "/metadata/name"));
    let namespace = text(&deployment, "/metadata/namespace").to_owned();
    let own = path("apps/v1", "ReplicaSet", &namespace, &name);
    let revision = text(&deployment, "/metadata/annotations/deployment.kubernetes.io~1revision").to_owned();
    if !objects.contains_key(&own) || revision.is_empty() {
        let next = revision.parse::<u64>().unwrap_or(0) + 1;
        deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = next.to_string().into();
    }
    let image = text(&template, "/spec/containers/0/image").to_owned();
    let is_well = !missing_images.contains(&image);
    let ready = if is_well { replicas } else { 0 };
    let mut labels = template["metadata"]["labels"].clone();
    labels["pod-template-hash"] = hash.clone().into();
    // The pods of the older version stay until those of this one are ready.
    let older: Vec<Value> = of_kind(objects, "ReplicaSet")
        .into_iter()
        .filter(|set| {
            set["metadata"]["ownerReferences"] == owner(&deployment) && set["metadata"]["name"] != name
        })
        .collect();
    if is_well {
        for mut set in older {
            set["spec"]["replicas"] = 0.into();
            scale(objects, &set, &Value::Null, true);
            put(objects, set);
        }
    }
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": name, "namespace": namespace, "labels": labels, "ownerReferences": owner(&deployment),
            "annotations": {"deployment.kubernetes.io/revision":
                deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"]},
            "generation": 1,
        },
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 1, "replicas": replicas, "fullyLabeledReplicas": replicas,
            "readyReplicas": ready, "availableReplicas": ready},
    });
    put(objects, set);
    let set = objects[&own].clone();
    scale(objects, &set, &template, is_well);
    deployment["status"] = json!({
        "observedGeneration": deployment["metadata"]["generation"], "replicas": replicas,
        "updatedReplicas": replicas, "readyReplicas": ready, "availableReplicas": ready,
        "conditions": [
            {"type": "Available", "status": if is_well { "True" } else { "False" }},
            {"type": "Progressing", "status": "True",
                "reason": if is_well { "NewReplicaSetAvailable" } else { "ReplicaSetUpdated" }},
        ],
    });
    put(objects, deployment);
}

/// Gives a ReplicaSet as many pods as it is to have.
fn scale(objects: &mut Objects, set: &Value, template: &Value, is_well: bool) {
    let wanted = set["spec"]["replicas"].as_u64().unwrap_or(0);
    let mine: Vec<String> = objects
        .iter()
        .filter(|(_, pod)| pod["kind"] == "Pod" && pod["metadata"]["ownerReferences"] == owner(set))
        .map(|(own, _)| own.clone())
        .collect();
    for own in mine.iter().skip(usize::try_from(wanted).unwrap_or(usize::MAX)) {
        objects.remove(own);
    }
    for number in 0..wanted {
        let name = format!("{}-{number}", text(set, "/metadata/name"));
        if mine.iter().any(|own| own.ends_with(&format!("/{name}"))) {
            continue;
        }
        let container = text(template, "/spec/containers/0/name");
        put(objects, pod(&name, set, set["metadata"]["labels"].clone(), container, is_well));
    }
}

fn pod(name: &str, of: &Value, labels: Value, container: &str, is_well: bool) -> Value {
    let (word, state) = if is_well {
        ("True", json!({"running": {}}))
    } else {
        ("False", json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}}))
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": of["metadata"]["namespace"], "labels": labels,
            "ownerReferences": owner(of)},
        "status": {
            "phase": if is_well { "Running" } else { "Pending" },
            "conditions": [{"type": "Ready", "status": word}],
            "containerStatuses": [{"name": container, "ready": is_well, "restartCount": 0, "state": state}],
        },
    })
}

fn keep_set(objects: &mut Objects, mut set: Value) {
    let (name, namespace) =
        (text(&set, "/metadata/name").to_owned(), text(&set, "/metadata/namespace").to_owned());
    let container = text(&set, "/spec/template/spec/containers/0/name").to_owned();
    let mut labels = set["spec"]["template"]["metadata"]["labels"].clone();
    labels["controller-revision-hash"] = "1".into();
    if !objects.contains_key(&path("v1", "Pod", &namespace, &format!("{name}-0"))) {
        put(objects, pod(&format!("{name}-0"), &set, labels, &container, true));
    }
    for claim in set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let claim_name = format!("{}-{name}-0", text(claim, "/metadata/name"));
        put(
            objects,
            json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": claim["spec"],
                "metadata": {"name": claim_name, "namespace": namespace,
                    "labels": set["spec"]["selector"]["matchLabels"]},
                "status": {"phase": "Bound"},
            }),
        );
    }
    set["status"] = json!({
        "observedGeneration": set["metadata"]["generation"], "replicas": 1, "readyReplicas": 1,
        "currentReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
        "currentRevision": "1", "updateRevision": "1",
    });
    put(objects, set);
}

fn serve(objects: &mut Objects, service: &Value) {
    let Some(selector) = service["spec"]["selector"].as_object() else { return };
    let is_selected = |pod: &&Value| {
        pod["kind"] == "Pod"
            && selector.iter().all(|(name, value)| pod["metadata"]["labels"].get(name) == Some(value))
    };
    let endpoints: Vec<Value> = objects
        .values()
        .filter(is_selected)
        .map(|pod| {
            let is_ready = pod.pointer("/status/conditions/0/status") == Some(&"True".into());
            json!({"targetRef": {"uid": pod["metadata"]["uid"]}, "conditions": {"ready": is_ready}})
        })
        .collect();
    let name = text(service, "/metadata/name");
    put(
        objects,
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("{name}-1"), "namespace": service["metadata"]["namespace"],
                "labels": {"kubernetes.io/service-name": name}, "ownerReferences": owner(service)},
            "endpoints": endpoints,
        }),
    );
}

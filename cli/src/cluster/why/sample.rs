//! A namespace for tests: a slot of the order service with two pods, which a test then spoils.

use serde_json::{Value, json};

use super::snapshot::{ContainerLogs, ContainerName, Snapshot};
use super::why;
use crate::cluster::object::{Key, Object};

/// The new ReplicaSet.
pub(super) const REPLICA_SET: &str = "order-b-7d9f";
/// One of its pods; the other one ends in `-2`.
pub(super) const POD: &str = "order-b-7d9f-1";
const REVISION: &str = "deployment.kubernetes.io/revision";

pub(super) fn object(value: Value) -> Object {
    Object::new(value).unwrap()
}

/// A snapshot that grows.
#[derive(Default)]
pub(super) struct Sample {
    pub(super) snapshot: Snapshot,
}

impl Sample {
    /// A Deployment whose two new pods are in `status`, and an old ReplicaSet that has none left.
    pub(super) fn new(status: &Value) -> Self {
        let mut sample =
            Self::bare(&json!({"observedGeneration": 1, "replicas": 2, "fullyLabeledReplicas": 2}));
        for name in [POD, "order-b-7d9f-2"] {
            sample.pod(name, "ReplicaSet", REPLICA_SET, status);
        }
        sample
    }

    /// The same without a pod, and the new ReplicaSet in `status`.
    pub(super) fn bare(status: &Value) -> Self {
        let mut sample = Self::default();
        sample.add(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "order-b", "uid": "order-b", "generation": 4, "annotations": {REVISION: "3"}},
            "spec": {
                "replicas": 2, "progressDeadlineSeconds": 300,
                "template": {"metadata": {"labels": {"app.kubernetes.io/name": "order", "shopctl.dev/slot": "b"}}},
            },
            "status": {"observedGeneration": 4, "replicas": 2, "updatedReplicas": 2},
        }));
        for (name, revision, replicas) in [("order-b-5c5c", "2", 0), (REPLICA_SET, "3", 2)] {
            let status = if replicas == 0 { &json!({"observedGeneration": 1}) } else { status };
            sample.add(json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {
                    "name": name, "uid": name, "generation": 1, "annotations": {REVISION: revision},
                    "ownerReferences": [{"kind": "Deployment", "uid": "order-b"}],
                },
                "spec": {"replicas": replicas}, "status": status,
            }));
        }
        sample
    }

    /// Adds an object of the namespace.
    pub(super) fn add(&mut self, mut value: Value) -> &mut Object {
        value["metadata"]["namespace"] = json!("shop");
        self.snapshot.objects.push(object(value));
        self.snapshot.objects.last_mut().unwrap()
    }

    pub(super) fn pod(&mut self, name: &str, kind: &str, owner: &str, status: &Value) {
        self.add(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "uid": name, "ownerReferences": [{"kind": kind, "uid": owner}]},
            "spec": {
                "nodeName": "node-1",
                "containers": [{
                    "name": "shopd", "image": "ghcr.io/shopctl/shop:1.2",
                    "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "256Mi"}},
                }],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            },
            "status": status,
        }));
    }

    /// The object of that name.
    pub(super) fn change(&mut self, name: &str) -> &mut Value {
        let found = self.snapshot.objects.iter_mut().find(|object| object.name() == name);
        found.unwrap().value_mut()
    }

    pub(super) fn event(&mut self, about: &str, reason: &str, message: &str) {
        let minute = self.snapshot.objects.len();
        self.add(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{about}.{reason}.{minute}")},
            "involvedObject": {"uid": about}, "reason": reason, "message": message,
            "lastTimestamp": format!("2026-11-30T10:{minute:02}:00Z"),
        }));
    }

    pub(super) fn log(&mut self, pod: &str, previous: &[&str], current: &[&str]) {
        let name = ContainerName {
            namespace: "shop".to_owned(),
            pod: pod.to_owned(),
            container: "shopd".to_owned(),
        };
        let lines = |all: &[&str]| all.iter().map(|line| (*line).to_owned()).collect();
        let logs = ContainerLogs { current: lines(current), previous: lines(previous) };
        self.snapshot.logs.insert(name, logs);
    }

    /// What is told about `kind/name`, as a person reads it.
    pub(super) fn told(&self, group: &str, kind: &str, name: &str) -> String {
        let [group, kind, namespace, name] = [group, kind, "shop", name].map(str::to_owned);
        let causes = why(&Key { group, kind, namespace, name }, &self.snapshot);
        for cause in &causes {
            let lines = cause.to_string().lines().take_while(|line| !line.starts_with("log of")).count();
            assert!(lines <= 8, "{cause}");
        }
        causes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
    }

    /// What is told about the Deployment.
    pub(super) fn why(&self) -> String {
        self.told("apps", "Deployment", "order-b")
    }
}

/// The status of a pod whose container waits.
pub(super) fn waits(reason: &str, message: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [{
        "name": "shopd", "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}},
    }]})
}

/// The status of a pod whose container ended again and again.
pub(super) fn crashed(code: i64, reason: &str) -> Value {
    json!({"phase": "Running", "containerStatuses": [{
        "name": "shopd", "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": code, "reason": reason}},
    }]})
}

/// The status of a pod that runs, ready or not.
pub(super) fn runs(is_ready: bool) -> Value {
    let ready = if is_ready { "True" } else { "False" };
    json!({
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": ready, "reason": "ContainersNotReady"}],
        "containerStatuses": [{"name": "shopd", "restartCount": 0, "state": {"running": {}}}],
    })
}

/// The status of a pod that finds no node.
pub(super) fn homeless(message: &str) -> Value {
    json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
    ]})
}

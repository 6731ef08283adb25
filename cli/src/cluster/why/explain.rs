//! From what was asked about to the causes: which kind is explained where, and in which order causes are told.

use std::cmp::Reverse;

use super::cause::{Cause, Reason, Trail};
use super::snapshot::Snapshot;
use super::{pods, surroundings, workloads};
use crate::cluster::object::{Key, Object};
use crate::cluster::readiness::status;

/// What keeps `target` from being well, gravest first. A target may be a Deployment, a StatefulSet, a DaemonSet, a
/// ReplicaSet, a Pod, a Job, a Service, an autoscaler, a claim or a Node; of any other kind only its own status is told.
#[must_use]
pub fn why(target: &Key, snapshot: &Snapshot) -> Vec<Cause> {
    let Some(object) = snapshot.find(target) else {
        let message = format!("{target} is not in {}", place(target));
        let advice = "check the name and the environment; `shopctl status` lists what is there";
        return vec![Cause::new(Trail::default(), Reason::Missing, &message, advice)];
    };
    let mut causes = together(explain(snapshot, object, &Trail::default()));
    for cause in &mut causes {
        if let Some(logs) = cause.container.as_ref().and_then(|container| snapshot.logs.get(container)) {
            cause.take_logs(logs);
        }
    }
    // What only waits is no news beside what is wrong.
    if causes.iter().any(|cause| cause.reason != Reason::Waiting) {
        causes.retain(|cause| cause.reason != Reason::Waiting);
    }
    causes.sort_by_key(|cause| (cause.reason, Reverse(cause.alike)));
    causes
}

fn place(target: &Key) -> String {
    match target.namespace.as_str() {
        "" => "the cluster".to_owned(),
        namespace => format!("the namespace {namespace}"),
    }
}

pub(super) fn explain(snapshot: &Snapshot, object: &Object, trail: &Trail) -> Vec<Cause> {
    match object.kind() {
        "Deployment" => workloads::deployment(snapshot, object, trail),
        "ReplicaSet" | "StatefulSet" | "DaemonSet" => workloads::owner(snapshot, object, trail),
        "Job" => workloads::job(snapshot, object, trail),
        "Pod" => pods::pod(snapshot, object, trail).into_iter().collect(),
        "Service" => surroundings::service(snapshot, object, trail),
        "HorizontalPodAutoscaler" => surroundings::autoscaler(object, trail).into_iter().collect(),
        "PersistentVolumeClaim" => surroundings::claim(snapshot, object, trail).into_iter().collect(),
        "Node" => surroundings::node(object, trail).into_iter().collect(),
        _ => waiting(object, trail).into_iter().collect(),
    }
}

/// `object` waits, and nothing more is known.
pub(super) fn waiting(object: &Object, trail: &Trail) -> Option<Cause> {
    let status = status(object, None);
    let advice = "wait; ask again when it does not change";
    (!status.is_current())
        .then(|| Cause::new(trail.to(object, &status), Reason::Waiting, &status.to_string(), advice))
}

/// The same cause in several pods of one owner is told once.
fn together(all: Vec<Cause>) -> Vec<Cause> {
    let mut told: Vec<Cause> = Vec::new();
    for cause in all {
        match told.iter_mut().find(|other| other.is_like(&cause)) {
            Some(other) => other.alike += 1,
            None => told.push(cause),
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::super::sample::{POD, REPLICA_SET, Sample, crashed, homeless, runs, waits};
    use super::*;

    #[test]
    fn an_image_that_is_not_there() {
        let mut sample = Sample::new(&waits("ImagePullBackOff", "Back-off pulling image \"shop:1.2\""));
        let said = "Failed to pull image \"ghcr.io/shopctl/shop:1.2\": rpc error: code = NotFound desc = failed to pull \
                    and unpack image: ghcr.io/shopctl/shop:1.2: not found";
        sample.event(POD, "Failed", said);
        sample.event(POD, "Failed", "Error: ImagePullBackOff");
        assert_snapshot!(sample.why());
    }

    #[test]
    fn a_crash_with_the_last_lines_of_both_lives() {
        let mut sample = Sample::new(&crashed(6, "Error"));
        sample.log(POD, &["waiting for the database", "error: the database does not answer"], &["starting"]);
        assert_snapshot!(sample.why());
    }

    #[test]
    fn too_much_memory() {
        assert_snapshot!(Sample::new(&crashed(137, "OOMKilled")).why());
    }

    #[test]
    fn a_probe_that_kills() {
        let mut sample = Sample::new(&crashed(137, "Error"));
        let said = "Liveness probe failed: Get \"http://10.1.0.7:8083/healthz\": context deadline exceeded";
        sample.event(POD, "Unhealthy", said);
        sample.event("order-b-7d9f-2", "Unhealthy", said);
        assert_snapshot!(sample.why());
    }

    #[test]
    fn a_probe_that_says_no() {
        let mut sample = Sample::new(&runs(false));
        sample.event(POD, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404");
        sample.event(POD, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503");
        sample.log(POD, &[], &["ready? no: the database does not answer"]);
        assert_snapshot!(sample.why());
    }

    #[test]
    fn a_secret_that_is_not_there() {
        let config = Sample::new(&waits("CreateContainerConfigError", "secret \"shop-secrets\" not found"));
        let mut mount = Sample::new(&waits("ContainerCreating", ""));
        let said = "MountVolume.SetUp failed for volume \"secrets\" : secret \"shop-secrets\" not found";
        mount.event(POD, "FailedMount", said);
        assert_snapshot!(format!("{}\n\n---\n\n{}", config.why(), mount.why()));
    }

    #[test]
    fn no_node_and_no_volume() {
        let mut sample = Sample::new(&homeless("0/2 nodes are available: 2 Insufficient cpu."));
        let without = sample.why();
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "uid": "data"},
            "spec": {"storageClassName": "fast"}, "status": {"phase": "Pending"},
        });
        sample.add(claim);
        sample.event("data", "ProvisioningFailed", "storageclass.storage.k8s.io \"fast\" not found");
        assert_snapshot!(format!("{without}\n\n---\n\n{}", sample.why()));
    }

    #[test]
    fn a_node_that_is_away() {
        let mut sample = Sample::new(&runs(false));
        sample.snapshot.objects.push(
            Object::new(json!({
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"},
                "status": {"conditions": [{
                    "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
                    "message": "Kubelet stopped posting node status.",
                }]},
            }))
            .unwrap(),
        );
        assert_snapshot!(sample.why());
    }

    #[test]
    fn pods_that_may_not_be_made() {
        let refused = |message: &str| {
            Sample::bare(&json!({"observedGeneration": 1, "conditions": [{
                "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message,
            }]}))
        };
        let messages = [
            "pods \"order-b-7d9f-1\" is forbidden: exceeded quota: shop, requested: pods=1, used: pods=9",
            "pods \"order-b-7d9f-1\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
            "pods \"order-b-7d9f-\" is forbidden: error looking up service account shop/order: serviceaccount \"order\" \
             not found",
        ];
        let all: Vec<String> = messages.iter().map(|message| refused(message).why()).collect();
        assert_snapshot!(all.join("\n\n"));
    }

    #[test]
    fn a_job_that_has_failed_and_one_that_cannot_start() {
        let mut sample = Sample::default();
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "prepare-1", "uid": "prepare-1"},
            "status": {"conditions": [{
                "type": "Failed", "status": "True", "reason": "PodFailurePolicy",
                "message": "Container shopd for pod shop/prepare-1-x failed with exit code 4 matching FailJob rule",
            }]},
        });
        sample.add(job);
        let ended = json!({"phase": "Failed", "containerStatuses": [
            {"name": "shopd", "restartCount": 0, "state": {"terminated": {"exitCode": 4, "reason": "Error"}}},
        ]});
        sample.pod("prepare-1-x", "Job", "prepare-1", &ended);
        sample.log("prepare-1-x", &[], &["error: the tables are newer than this version"]);
        let failed = sample.told("batch", "Job", "prepare-1");
        sample.change("prepare-1")["status"] = json!({"active": 1});
        sample.change("prepare-1-x")["status"] = waits("ErrImagePull", "not found");
        assert_snapshot!(format!("{failed}\n\n---\n\n{}", sample.told("batch", "Job", "prepare-1")));
    }

    #[test]
    fn a_service_is_as_well_as_what_it_selects() {
        let mut sample = Sample::new(&crashed(1, "Error"));
        let service = |slot: &str| {
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("order-{slot}-service")},
                "spec": {"selector": {"app.kubernetes.io/name": "order", "shopctl.dev/slot": slot}},
            })
        };
        sample.add(service("a"));
        sample.add(service("b"));
        sample.add(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "x", "labels": {"kubernetes.io/service-name": "order-b-service"}},
            "endpoints": [{"conditions": {"ready": false}}, {"conditions": {"ready": false}}],
        }));
        let crashing = sample.told("", "Service", "order-b-service");
        let nothing = sample.told("", "Service", "order-a-service");
        let mut zero = Sample::bare(&json!({"observedGeneration": 1}));
        zero.add(service("b"));
        zero.change("order-b")["spec"]["replicas"] = json!(0);
        zero.change("order-b")["status"] = json!({"observedGeneration": 4});
        let zero = zero.told("", "Service", "order-b-service");
        assert_snapshot!([crashing, nothing, zero].join("\n\n---\n\n"));
    }

    #[test]
    fn a_deployment_that_waits_is_paused_or_makes_no_progress() {
        let mut waits = Sample::new(&runs(true));
        let waiting = waits.why();
        waits.change("order-b")["spec"]["paused"] = json!(true);
        let paused = waits.why();
        waits.change("order-b")["spec"]["paused"] = json!(false);
        waits.change("order-b")["status"]["conditions"] = json!([{
            "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
            "message": "ReplicaSet \"order-b-7d9f\" has timed out progressing.",
        }]);
        assert_snapshot!([waiting, paused, waits.why()].join("\n\n---\n\n"));
    }

    #[test]
    fn an_autoscaler_without_figures() {
        let mut sample = Sample::new(&runs(true));
        sample.add(json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "order-b"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "order-b"}},
            "status": {"conditions": [
                {"type": "AbleToScale", "status": "True"},
                {
                    "type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric",
                    "message": "the HPA was unable to compute the replica count: no metrics returned",
                },
            ]},
        }));
        assert_snapshot!(sample.why());
    }

    #[test]
    fn the_gravest_comes_first_and_what_is_alike_is_told_once() {
        let mut sample = Sample::new(&crashed(1, "Error"));
        sample.pod("order-b-7d9f-3", "ReplicaSet", REPLICA_SET, &waits("ErrImagePull", "not found"));
        sample.pod("order-b-7d9f-4", "ReplicaSet", REPLICA_SET, &runs(true));
        let key = |name: &str| Key {
            group: "apps".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        };
        let causes = why(&key("order-b"), &sample.snapshot);
        let told: Vec<_> = causes.iter().map(|cause| (cause.reason, cause.alike)).collect();
        assert_eq!(told, [(Reason::ImagePull, 0), (Reason::Crash, 1)]);
        let missing = why(&key("order-c"), &sample.snapshot);
        assert_eq!(missing[0].message, "Deployment/order-c is not in the namespace shop");
    }

    #[test]
    fn what_is_well_has_no_cause() {
        let mut sample = Sample::new(&runs(true));
        let set = json!({
            "observedGeneration": 1, "replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 2,
            "availableReplicas": 2,
        });
        sample.change(REPLICA_SET)["status"] = set;
        sample.change("order-b")["status"] = json!({
            "observedGeneration": 4, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2,
            "availableReplicas": 2, "conditions": [
                {"type": "Available", "status": "True"},
                {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
            ],
        });
        assert_eq!(sample.why(), "");
    }

    #[test]
    fn a_script_reads_a_cause_as_json() {
        let mut sample = Sample::new(&crashed(1, "Error"));
        sample.log(POD, &["error: no"], &[]);
        let key = Key {
            group: String::new(),
            kind: "Pod".to_owned(),
            namespace: "shop".to_owned(),
            name: POD.to_owned(),
        };
        insta::assert_json_snapshot!(why(&key, &sample.snapshot));
    }
}

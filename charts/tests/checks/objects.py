"""The objects: who runs, as whom, behind which Service, and what becomes of them on a bad day."""

import itertools

import tools
from renderings import called, check, matches, of_kind, pods, renderings


@check
def every_object_says_whose_it_is():
    for name, objects in renderings():
        for one in objects:
            labels = one["metadata"].get("labels", {})
            assert labels.get("app.kubernetes.io/part-of") == "shop", f"{name}: {called(one)}"
            is_cluster_wide = one["kind"] in ("ClusterRole", "ClusterRoleBinding", "APIService")
            assert is_cluster_wide or one["metadata"].get("namespace"), f"{name}: {called(one)} names no namespace"
        names = [(one["kind"], one["metadata"]["name"]) for one in objects]
        assert len(names) == len(set(names)), f"{name}: an object is there twice"


@check
def every_pod_is_restricted():
    for name, objects in renderings():
        found = 0
        for owner, _, spec in pods(objects):
            found += 1
            where = f"{name}: {called(owner)}"
            security = spec["securityContext"]
            assert security["runAsNonRoot"] and security["runAsUser"] > 0, where
            assert security["seccompProfile"]["type"] == "RuntimeDefault", where
            assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), where
            speaks = owner["metadata"]["name"] == "metrics"
            assert spec["automountServiceAccountToken"] is speaks, f"{where} and its token"
            assert spec["enableServiceLinks"] is False, where
            allowed = {"secret", "emptyDir", "configMap", "persistentVolumeClaim"}
            for volume in spec.get("volumes", []):
                assert len(set(volume) & allowed) == 1, f"{where}: volume {volume['name']}"
            for container in spec["containers"] + spec.get("initContainers", []):
                own = container["securityContext"]
                assert own["allowPrivilegeEscalation"] is False and own["readOnlyRootFilesystem"], where
                assert own["capabilities"] == {"drop": ["ALL"]}, where
                for bound in ("requests", "limits"):
                    assert {"cpu", "memory"} <= set(container["resources"][bound]), f"{where}: {bound}"
        assert found >= 8, f"{name} has {found} pods only"


@check
def the_shops_own_pods_run_as_65532():
    for name, objects in renderings():
        for owner, labels, spec in pods(objects):
            if labels["app.kubernetes.io/name"] != "postgresql":
                assert spec["securityContext"]["runAsUser"] == 65532, f"{name}: {called(owner)}"


@check
def every_service_selects_pods_that_have_its_ports():
    for name, objects in renderings():
        for service in of_kind(objects, "Service"):
            selected = [spec for _, labels, spec in pods(objects) if matches(service["spec"]["selector"], labels)]
            assert selected, f"{name}: {called(service)} selects nothing"
            for spec, port in itertools.product(selected, service["spec"]["ports"]):
                ports = {one["name"] for container in spec["containers"] for one in container.get("ports", [])}
                assert port["targetPort"] in ports, f"{name}: {called(service)} and {port['targetPort']}"


@check
def the_selector_is_narrow_or_wide_as_the_state_says():
    def selector(**state):
        objects = tools.render(values={"slots": {"order": state}})
        services = {one["metadata"]["name"]: one["spec"]["selector"] for one in of_kind(objects, "Service")}
        return services["order"], services.get("order-preview")

    name, slot = "app.kubernetes.io/name", "shopctl.dev/slot"
    assert selector() == ({name: "order", slot: "a"}, None)
    both = {"b": {"enabled": True}}
    assert selector(**both) == ({name: "order", slot: "a"}, {name: "order", slot: "b"})
    assert selector(live="b", **both) == ({name: "order", slot: "b"}, {name: "order", slot: "a"})
    assert selector(selector="wide", **both)[0] == {name: "order"}


@check
def a_service_never_points_at_a_slot_that_is_not_there():
    tools.refused({"slots": {"order": {"live": "b"}}}, "slots.order.live")


@check
def the_slots_of_a_service_are_apart_and_their_selectors_never_change():
    seen = {}
    for name, objects in renderings():
        for one in of_kind(objects, "Deployment", "StatefulSet"):
            selector = one["spec"]["selector"]
            assert seen.setdefault(called(one), selector) == selector, f"{name}: {called(one)}"
    for service in tools.manifest():
        slots = [seen[f"Deployment {service}-{slot}"]["matchLabels"] for slot in "ab"]
        expected = [{"app.kubernetes.io/name": service, "shopctl.dev/slot": slot} for slot in "ab"]
        assert slots == expected, service


@check
def a_slot_has_the_pods_and_the_image_that_its_state_says():
    state = {"b": {"enabled": True, "image": "registry.example/shop@sha256:" + "1" * 64, "replicas": 0}}
    objects = tools.render(values={"slots": {"order": state}})
    deployments = {one["metadata"]["name"]: one for one in of_kind(objects, "Deployment")}
    assert deployments["order-a"]["spec"]["replicas"] == 2
    assert deployments["order-b"]["spec"]["replicas"] == 0
    image = deployments["order-b"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == state["b"]["image"]


@check
def the_three_probes_mean_different_things():
    for name, objects in renderings():
        for one in of_kind(objects, "Deployment"):
            container = one["spec"]["template"]["spec"]["containers"][0]
            start, ready, live = (container[f"{which}Probe"] for which in ("startup", "readiness", "liveness"))
            where = f"{name}: {called(one)}"
            assert ready["httpGet"]["path"] == "/readyz" and live["httpGet"]["path"] == "/healthz", where
            assert start["httpGet"]["path"] == "/healthz", where
            assert start["periodSeconds"] * start["failureThreshold"] >= 60, where
            assert ready["periodSeconds"] * ready["failureThreshold"] <= 10, f"{where} leaves the endpoints late"


@check
def a_pod_has_time_to_drain_and_leaves_a_lost_node_soon():
    for name, objects in renderings():
        for one in of_kind(objects, "Deployment"):
            spec = one["spec"]["template"]["spec"]
            wait = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
            if one["metadata"]["name"] != "metrics":
                assert spec["terminationGracePeriodSeconds"] > wait + 25, f"{name}: {called(one)}"
            lost = {one["key"]: one["tolerationSeconds"] for one in spec["tolerations"]}
            keys = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
            assert lost == dict.fromkeys(keys, 30), f"{name}: {called(one)}"
    tools.refused({"shutdown": {"preStopSeconds": 30, "graceSeconds": 50}}, "graceSeconds")


@check
def every_service_survives_a_drain_and_is_spread():
    for name, objects in renderings():
        budgets = {one["metadata"]["name"]: one["spec"] for one in of_kind(objects, "PodDisruptionBudget")}
        for service in tools.manifest():
            assert budgets[service]["selector"]["matchLabels"] == {"app.kubernetes.io/name": service}, name
        for one in of_kind(objects, "Deployment"):
            spread = one["spec"]["template"]["spec"]["topologySpreadConstraints"]
            keys = {constraint["topologyKey"] for constraint in spread}
            assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}, f"{name}: {called(one)}"


@check
def a_scaler_and_a_deployment_never_both_say_how_many():
    for name, objects in renderings():
        deployments = {one["metadata"]["name"]: one for one in of_kind(objects, "Deployment")}
        for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
            target = deployments[scaler["spec"]["scaleTargetRef"]["name"]]
            assert "replicas" not in target["spec"], f"{name}: {called(target)}"
    stopped = tools.render(values={"autoscaling": {"enabled": True}, "slots": {"order": {"b": {"enabled": True, "replicas": 0}}}})
    scalers = {one["metadata"]["name"] for one in of_kind(stopped, "HorizontalPodAutoscaler")}
    assert "order-a" in scalers and "order-b" not in scalers, "a slot that does not run is not scaled"


@check
def scaling_on_the_shops_own_figures_is_a_switch():
    figures = {}
    for external in (False, True):
        objects = tools.render(values={"autoscaling": {"enabled": True, "external": external}})
        figures[external] = {
            metric["external"]["metric"]["name"]
            for scaler in of_kind(objects, "HorizontalPodAutoscaler")
            for metric in scaler["spec"]["metrics"]
            if metric["type"] == "External"
        }
    assert figures == {False: set(), True: {"saga_inflight", "queue_oldest_seconds"}}

"""Who may speak to whom: the NetworkPolicies against the services' manifest."""

import itertools

import network
import tools
from renderings import called, check, of_kind, pods, renderings, with_values


@check
def the_values_and_the_manifest_tell_the_same():
    values = tools.values()
    services = {name: (one["port"], one["needs"]) for name, one in values["services"].items()}
    gateway = services.pop("gateway")
    told = {name: (one["port"], one["needs"]) for name, one in tools.manifest().items() if name != "gateway"}
    assert services == told, f"values {services}, manifest {told}"
    assert sorted(gateway[1]) == sorted(told), "the gateway calls every service that has a route"


@check
def policies_let_through_exactly_the_edges_that_are_declared():
    for name, values, objects in with_values():
        policies = of_kind(objects, "NetworkPolicy")
        roles = {labels["app.kubernetes.io/name"]: (labels, spec) for _, labels, spec in pods(objects)}
        found = set()
        for (source, (labels, _)), (target, (others, spec)) in itertools.permutations(roles.items(), 2):
            for port in network.ports(spec):
                if network.is_open(policies, labels, others, port):
                    found.add((source, target, port))
        wanted = edges(values, roles)
        assert found == wanted, f"{name}: open but not declared {found - wanted}, declared but shut {wanted - found}"


@check
def no_side_of_an_edge_is_open_without_the_other():
    for name, values, objects in with_values():
        policies = of_kind(objects, "NetworkPolicy")
        roles = {labels["app.kubernetes.io/name"]: (labels, spec) for _, labels, spec in pods(objects)}
        wanted = edges(values, roles)
        for (source, (labels, _)), (target, (others, spec)) in itertools.permutations(roles.items(), 2):
            for port in network.ports(spec):
                out, into = network.ways(policies, labels, others, port)
                is_public = port in network.inside(policies, others)
                is_wanted = (source, target, port) in wanted
                assert bool(out) == is_wanted, f"{name}: the way out of {source} to {target} at {port}"
                assert bool(into) == is_wanted or is_public, f"{name}: the way into {target} from {source} at {port}"


@check
def a_pod_without_a_policy_of_its_own_reaches_nobody():
    for name, objects in renderings():
        nothing = next(one for one in objects if one["metadata"]["name"] == "shop-nothing")["spec"]
        assert set(nothing["policyTypes"]) == {"Ingress", "Egress"} and not {"ingress", "egress"} & set(nothing), name
        for owner, labels, _ in pods(objects):
            assert network.chosen(nothing["podSelector"], labels), f"{name}: {called(owner)}"


def edges(values, roles):
    """What the manifest and the settings declare, as (from, to, port)."""
    manifest = tools.manifest()
    ports = {name: one["port"] for name, one in manifest.items()}
    wanted = {(name, needed, ports[needed]) for name, one in manifest.items() for needed in one["needs"]}
    wanted.add(("shop-test", "gateway", ports["gateway"]))
    if "postgresql" in roles:
        wanted |= {(name, "postgresql", 5432) for name in [*manifest, "prepare"]}
    if "fakepay" in roles:
        wanted |= {("payment", "fakepay", 8090), ("fakepay", "gateway", ports["gateway"])}
        if values["allowFaults"]:
            wanted.add(("gateway", "fakepay", 8090))
    if "metrics" in roles:
        figures = dict(ports, gateway=values["gateway"]["metricsPort"])
        wanted |= {("metrics", name, port) for name, port in figures.items()}
    return wanted


@check
def every_edge_of_the_manifest_has_exactly_one_way_out_and_one_way_in():
    for name, _, objects in with_values():
        policies = of_kind(objects, "NetworkPolicy")
        roles = {labels["app.kubernetes.io/name"]: labels for _, labels, _ in pods(objects)}
        for source, one in tools.manifest().items():
            for needed in one["needs"]:
                port = tools.manifest()[needed]["port"]
                ways = network.ways(policies, roles[source], roles[needed], port)
                assert ways == (1, 1), f"{name}: {source} to {needed} has {ways}"


@check
def only_those_who_need_it_reach_the_outside():
    for name, values, objects in with_values():
        policies = of_kind(objects, "NetworkPolicy")
        wanted = {}
        if values["provider"]["url"]:
            wanted.setdefault("payment", set()).add(values["provider"]["port"])
        if values["smtp"]["host"]:
            wanted.setdefault("notification", set()).add(values["smtp"]["port"])
        if values["database"]["external"]["host"]:
            for role in [*tools.manifest(), "prepare"]:
                wanted.setdefault(role, set()).add(values["database"]["external"]["port"])
        if values["metrics"]["enabled"]:
            wanted["metrics"] = {443, 6443}
        found = {}
        for _, labels, _ in pods(objects):
            ports = network.outside(policies, labels)
            if ports:
                found[labels["app.kubernetes.io/name"]] = ports
        assert found == wanted, f"{name}: {found}, wanted {wanted}"


@check
def the_outside_reaches_only_the_gateway():
    for name, values, objects in with_values():
        policies = of_kind(objects, "NetworkPolicy")
        for _, labels, _ in pods(objects):
            role = labels["app.kubernetes.io/name"]
            wanted = {"gateway": {8080}, "metrics": {values["metrics"]["port"]}}.get(role, set())
            found = network.inside(policies, labels)
            assert found <= wanted, f"{name}: {role} is open to everybody at {found - wanted}"


@check
def every_pod_may_look_names_up():
    dns = {"k8s-app": "kube-dns"}
    for name, objects in renderings():
        policies = of_kind(objects, "NetworkPolicy")
        for owner, labels, _ in pods(objects):
            assert network.leaves(policies, labels, dns, 53, "kube-system"), f"{name}: {called(owner)}"


@check
def a_process_is_told_only_of_those_whom_it_needs():
    for name, objects in renderings():
        for one in of_kind(objects, "Deployment"):
            role = one["metadata"]["labels"]["app.kubernetes.io/name"]
            if role not in tools.manifest():
                continue
            arguments = one["spec"]["template"]["spec"]["containers"][0]["args"]
            peers = {word.split("=")[1] for word in arguments if word.startswith("--peer=")}
            assert peers == set(tools.manifest()[role]["needs"]), f"{name}: {called(one)}"

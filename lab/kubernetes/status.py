"""What of a lab runs, is ready, and how much memory it has."""

import json
import sys

from . import api, build, control_plane, network, node, process
from .failure import Failure
from .place import Place

VERSIONS = ("k8s.io/kubernetes", "go.etcd.io/etcd/server/v3", "github.com/coredns/coredns",
            "sigs.k8s.io/metrics-server", "helm.sh/helm/v3", "helm.sh/helm/v4", "github.com/yannh/kubeconform")


def show(place: Place | None, as_json: bool) -> None:
    if place is None:
        raise Failure("there is no lab", hint="scripts/lab kubernetes up")
    found = document(place)
    if as_json:
        json.dump(found, sys.stdout, indent=2)
        print()
        return
    print(f"lab {found['lab']} in {found['folder']}" + ("" if found["finished"] else ", half-way up"))
    print(f"KUBECONFIG {found['kubeconfig']}")
    table([("COMPONENT", "NODE", "PID", "READY", "MEMORY")] + [
        (row["component"], row["node"] or "-", str(row["pid"] or "-"), "yes" if row["ready"] else row["obstacle"],
         f"{row['memory_bytes'] / 1e6:.0f} MB") for row in found["components"]])
    table([("NODE", "ZONE", "ADDRESS", "READY", "NETWORK")] + [
        (each["name"], each["zone"], each["address"], "yes" if each["ready"] else "no",
         "cut off" if each["partitioned"] else "connected") for each in found["nodes"]])
    table([("MODULE", "VERSION"), *found["versions"].items()])


def document(place: Place) -> dict:
    ready = ready_nodes(place)
    return {
        "lab": place.bridge, "folder": str(place.folder), "kubeconfig": str(place.kubeconfig), "server": place.server,
        "finished": place.finished.exists(), "components": rows(place),
        "nodes": [{"name": each.name, "zone": each.zone, "address": each.address, "ready": ready.get(each.name, False),
                   "partitioned": network.is_cut(each)} for each in place.nodes],
        "versions": {module: build.module_version(module) for module in VERSIONS},
    }


def rows(place: Place) -> list[dict]:
    found = control_plane.components(place)
    for each in place.nodes:
        found += [node.machine(each), *node.components(each)]
    return [row(component) for component in found]


def row(component: process.Component) -> dict:
    pid = process.pid_of(component)
    obstacle = component.obstacle() if pid is not None else "not running"
    return {
        "component": component.name, "node": component.node.name if component.node else None, "pid": pid,
        "running": pid is not None, "ready": obstacle is None, "obstacle": obstacle,
        "memory_bytes": process.memory_bytes(pid) if pid is not None else 0, "log": str(component.log),
    }


def ready_nodes(place: Place) -> dict[str, bool]:
    try:
        return api.ready_nodes(place)
    except OSError:
        return {}


def table(lines: list[tuple]) -> None:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    print()
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())

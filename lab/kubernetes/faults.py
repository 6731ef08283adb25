"""What can be broken in a lab, each with its undo: a node cut off and healed, a component killed and started again."""

import signal

from . import api, control_plane, network, node, process
from .failure import Failure, talk
from .place import Node, Place
from .process import Component

MACHINE = "machine"


def find_node(place: Place, name: str) -> Node:
    """By its name or its letter."""
    for each in place.nodes:
        if name in (each.name, each.letter):
            return each
    raise Failure(f"there is no node {name}; there are {', '.join(each.name for each in place.nodes)}")


def find(place: Place, name: str, on: str | None) -> Component:
    """`apiserver` on the host, or `kubelet` with the node that it is of; `machine` is the whole node."""
    if on is None:
        known = {component.name: component for component in control_plane.components(place)}
    else:
        each = find_node(place, on)
        known = {component.name: component for component in (node.machine(each), *node.components(each))}
    if name not in known:
        where = "on the host" if on is None else f"on {on}"
        raise Failure(f"there is no component {name} {where}; there are {', '.join(known)}")
    return known[name]


def partition(place: Place, name: str) -> None:
    """Cuts a node off from everybody, or a pod (NAMESPACE/POD) from all but the kubelet's probes."""
    if "/" in name:
        where, address = find_pod(place, name)
        node.run(where, "nft", network.pod_filter(address))
        return talk(f"{name} is cut off; undo: heal {name}")
    cut_off = find_node(place, name)
    network.cut(cut_off)
    reroute(place)
    talk(f"{cut_off.name} is cut off; undo: heal {cut_off.name}")


def reroute(place: Place) -> None:
    """The host goes to Services through a node that it can reach, when there is one."""
    reachable = [each for each in place.nodes
                 if process.pid_of(node.machine(each)) is not None and not network.is_cut(each)]
    if reachable and network.service_route(place) not in [each.address for each in reachable]:
        network.route_services(place, reachable[0])


def heal(place: Place, name: str) -> None:
    if "/" in name:
        where, address = find_pod(place, name)
        node.run(where, "nft", f"delete table inet {network.filter_name(address)}")
    else:
        network.mend(find_node(place, name))
    talk(f"{name} is reachable again")


def find_pod(place: Place, name: str) -> tuple[Node, str]:
    """The node that a pod runs on, and its address."""
    namespace, _, pod = name.partition("/")
    try:
        found = api.ask(place, f"/api/v1/namespaces/{namespace}/pods/{pod}")
    except OSError as failed:
        raise Failure(f"could not find the pod {name}: {failed}")
    if not found["status"].get("podIP"):
        raise Failure(f"the pod {name} has no address yet")
    return find_node(place, found["spec"]["nodeName"]), found["status"]["podIP"]


def kill(place: Place, name: str, on: str | None) -> None:
    """Without a warning, and nobody starts it again: that is `start`."""
    component = find(place, name, on)
    if component.name == MACHINE:
        node.halt(component.node)
        reroute(place)
    else:
        process.stop(component, signal.SIGKILL)
    talk(f"{component.title} is killed; undo: start {name}{f' {on}' if on else ''}")


def start(place: Place, name: str, on: str | None) -> None:
    component = find(place, name, on)
    if process.wrapper_pid(component) is not None:
        talk(f"{component.title} runs already")
        return
    if component.name == MACHINE:
        start_machine(component.node)
    elif component.node is not None:
        node.start(component)
    else:
        process.start(component)
    process.wait_ready(component)
    talk(f"{component.title} runs and is ready")


def start_machine(each: Node) -> None:
    """A node that was switched on again: what it had on its disk is still there."""
    node.boot(each)
    for component in node.components(each):
        node.start(component)
        process.wait_ready(component)


def restart(place: Place, name: str, on: str | None) -> None:
    """Asks it to end, starts it again, and waits until it is ready."""
    component = find(place, name, on)
    if component.name == MACHINE:
        node.halt(component.node)
    else:
        process.stop(component, seconds=30)
    start(place, name, on)

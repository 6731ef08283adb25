"""The lab's wires: one bridge on the host, a cable from it into each node, and the routes to pods and Services.

Nothing is made on the host but the bridge with its ports: the routes go with the bridge, packet filters are the nodes' own.
"""

import hashlib
import subprocess
from pathlib import Path

from .failure import Failure
from .place import NUMBERS, Node, Place


def take_bridge(folder: Path, node_count: int) -> Place:
    """Takes the first number whose bridge can be made: that it can be made only once keeps two labs apart.

    The folder says the number before the bridge is there, and the bridge's hardware address says whose it is: however
    `up` ends, `down` finds what was made and touches nobody else's.
    """
    for number in NUMBERS:
        place = Place(folder, number, node_count)
        place.write()
        add = ["ip", "link", "add", place.bridge, "address", hardware_address(place), "type", "bridge"]
        made = subprocess.run(add, capture_output=True, text=True)
        if made.returncode == 0:
            return place
        if "File exists" not in made.stderr:
            raise Failure(f"could not make a bridge: {made.stderr.strip()}")
    raise Failure(f"the labs {NUMBERS[0]} to {NUMBERS[-1]} are all taken", hint="`ip link` lists their bridges")


def hardware_address(place: Place) -> str:
    digest = hashlib.sha256(str(place.folder).encode()).hexdigest()
    return "02:" + ":".join(digest[at:at + 2] for at in range(0, 10, 2))


def owns_bridge(place: Place) -> bool:
    shown = subprocess.run(["ip", "link", "show", place.bridge], capture_output=True, text=True).stdout
    return hardware_address(place) in shown


def raise_bridge(place: Place) -> None:
    ip(f"address add {place.address}/24 dev {place.bridge}", f"link set {place.bridge} up")


def route_pods(place: Place) -> None:
    """The host's way to every pod and every Service."""
    ip(*(f"route replace {node.pods} via {node.address} dev {place.bridge}" for node in place.nodes))
    route_services(place, place.nodes[0])


def drop_bridge(place: Place) -> None:
    """Takes its address and routes with it, and the cables that a dying node has not taken yet."""
    for name in (*(node.wire for node in place.nodes), place.bridge):
        subprocess.run(["ip", "link", "delete", name], capture_output=True)


def plug(node: Node, init: int) -> None:
    """The cable from the bridge to `eth0` of the node whose first process is `init`, and the node's routes."""
    place = node.place
    # The cable of a node that was just switched off may not be gone yet.
    subprocess.run(["ip", "link", "delete", node.wire], capture_output=True)
    ip(f"link add {node.wire} type veth peer name eth0 netns {init}",
       f"link set {node.wire} master {place.bridge} up")
    others = (f"route add {other.pods} via {other.address}" for other in place.nodes if other != node)
    ip("link set lo up", f"address add {node.address}/24 dev eth0", "link set eth0 up", *others,
       # A node's own kube-proxy answers for Services; the kernel only wants to see some route first.
       f"route add {place.services} via {place.address}",
       # There is no way out: what asks for one is told at once.
       "route add unreachable default", inside=init)


def route_services(place: Place, node: Node) -> None:
    """The host reaches Services through this node."""
    ip(f"route replace {place.services} via {node.address} dev {place.bridge}")


def service_route(place: Place) -> str:
    """The address of the node through which the host reaches Services."""
    shown = subprocess.run(["ip", "route", "show", place.services], capture_output=True, text=True).stdout.split()
    return shown[shown.index("via") + 1] if "via" in shown else ""


def cut(node: Node) -> None:
    """Every packet vanishes, both ways; the cable's light stays on, so nobody is told."""
    bridge_port(node, "disabled")


def mend(node: Node) -> None:
    bridge_port(node, "forwarding")


def is_cut(node: Node) -> bool:
    shown = subprocess.run(["bridge", "link", "show", "dev", node.wire], capture_output=True, text=True).stdout
    return "state disabled" in shown


def filter_name(address: str) -> str:
    return f"cut_{address.replace('.', '_')}"


def pod_filter(address: str) -> str:
    """What a node has to forget of what it forwards, so that a pod of its own is cut off."""
    return (f"table inet {filter_name(address)} {{ chain forward {{ type filter hook forward priority -200; "
            f"ip saddr {address} drop; ip daddr {address} drop; }}; }}")


def bridge_port(node: Node, state: str) -> None:
    number = {"disabled": "0", "forwarding": "3"}[state]
    done = subprocess.run(["bridge", "link", "set", "dev", node.wire, "state", number], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"could not set {node.wire} to {state}: {done.stderr.strip()}")


def ip(*lines: str, inside: int | None = None) -> None:
    """Runs the lines as one batch, on the host or in the network of a process."""
    enter = ["nsenter", f"--net=/proc/{inside}/ns/net"] if inside is not None else []
    done = subprocess.run([*enter, "ip", "-batch", "-"], input="\n".join(lines) + "\n", capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"ip failed: {done.stderr.strip()}")

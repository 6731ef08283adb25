"""Up and down, each as the story that it is."""

import fcntl
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from . import (addons, build, certificates, cgroups, control_plane, images, network, node, packages, process, status,
               volumes)
from .failure import Failure, talk, wait_until
from .place import MOST_NODES, Node, Place


USUAL_NODES = 3


def up(folder: Path, asked_nodes: int | None) -> Place:
    """Everything from nothing to a cluster that has metrics. A lab that is up already is left as it is."""
    node_count = USUAL_NODES if asked_nodes is None else asked_nodes
    if not 1 <= node_count <= MOST_NODES:
        raise Failure(f"a lab has 1 to {MOST_NODES} nodes, not {node_count}")
    with alone(folder):
        # What it starts on the way carries the mark too, so that `down` ends it when this command was killed.
        os.environ[process.MARK] = str(folder)
        found = Place.read(folder)
        if found is not None and found.finished.exists():
            return already_up(found, asked_nodes)
        if found is not None:
            talk("a lab was left half-way; taking it away first")
            dismantle(folder, found)
        packages.install()
        return assemble(folder, node_count, build.programs(), images.stock())


def assemble(folder: Path, node_count: int, programs: dict[str, Path], stock: Path) -> Place:
    began = time.monotonic()

    def reached(what: str) -> None:
        talk(f"{time.monotonic() - began:5.1f} s  {what}")

    place = network.take_bridge(folder, node_count)
    prepare(place, programs)
    reached(f"{place.bridge}: addresses, certificates, disks")
    with ThreadPoolExecutor() as pool:
        machines = [pool.submit(start_machine, each, stock) for each in place.nodes]
        start_control_plane(place)
        reached("the control plane answers")
        for machine in machines:
            machine.result()
        for joined in [pool.submit(start_node, each) for each in place.nodes]:
            joined.result()
    reached(f"{node_count} nodes are ready")
    addons.apply(place)
    for name in addons.wait_ready(place):
        reached(name)
    place.finished.touch()
    return place


def already_up(place: Place, asked_nodes: int | None) -> Place:
    if asked_nodes not in (None, place.node_count):
        raise Failure(f"the lab is up with {place.node_count} nodes, not {asked_nodes}", hint="`down` first")
    idle = [row["component"] for row in status.rows(place) if not row["running"]]
    if idle:
        raise Failure(f"the lab is up, but {', '.join(idle)} does not run",
                      hint="`scripts/lab kubernetes start COMPONENT [NODE]`, or `down` and `up`")
    talk(f"{place.bridge} is up already with {place.node_count} nodes")
    return place


def prepare(place: Place, programs: dict[str, Path]) -> None:
    place.bin.mkdir()
    for name, program in programs.items():
        link_or_copy(program, place.bin / name)
    network.raise_bridge(place)
    network.route_pods(place)
    certificates.make(place)
    control_plane.write_admission(place)
    volumes.make(place)


def link_or_copy(source: Path, target: Path) -> None:
    """The cache may be where a node cannot see it, so the lab's folder has the programs themselves."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def start_control_plane(place: Place) -> None:
    for component in control_plane.components(place):
        process.start(component)
        if component.name in ("etcd", "apiserver"):
            process.wait_ready(component)
    for each in place.nodes:
        node.register(each)
    for component in control_plane.components(place):
        process.wait_ready(component)


def start_machine(each: Node, stock: Path) -> None:
    images.take_from_stock(each, stock)
    node.boot(each)
    node.start(node.containerd(each))
    process.wait_ready(node.containerd(each))


def start_node(each: Node) -> None:
    for component in (node.kubelet(each), node.kube_proxy(each)):
        node.start(component)
    for component in (node.kubelet(each), node.kube_proxy(each)):
        process.wait_ready(component)


def down(folder: Path) -> None:
    """Takes away all that an `up` made, wherever that ended. Nothing there is fine."""
    if not folder.exists():
        talk(f"there is no lab in {folder}")
        return
    with alone(folder):
        dismantle(folder, Place.read(folder))
        folder.rmdir()
    talk(f"the lab in {folder} is gone")


def dismantle(folder: Path, place: Place | None) -> None:
    """Everything goes as if unplugged, since nothing of it is kept: a node takes along what it holds. Then what is left."""
    if place is not None:
        everything = control_plane.components(place) + [node.machine(each) for each in place.nodes]
        pids = [process.pid_of(component) for component in everything]
        process.end([pid for pid in pids if pid is not None], signal.SIGKILL)
        wait_until("processes of the lab went on", lambda: end_marked(place), 30)
        if network.owns_bridge(place):
            cgroups.remove(place)
            network.drop_bridge(place)
    # What says that this is a lab goes last, so that a `down` that was cut short can be done again.
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == "lab.json"):
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def end_marked(place: Place) -> str | None:
    """What has no pid file: a process that `up` was about to start, or the child of one that ended."""
    marked = process.every_marked(place)
    process.end(marked, signal.SIGKILL)
    return f"{len(marked)} of them" if marked else None


@contextmanager
def alone(folder: Path):
    """Two commands at once would tread on each other. The kernel lets go of the lock whatever becomes of its holder."""
    held = locked(folder)
    try:
        strangers = [entry.name for entry in folder.iterdir() if not entry.name.startswith("lab.json")]
        if strangers and Place.read(folder) is None:
            raise Failure(f"{folder} holds other things and is no lab", hint="--dir with a folder of the lab's own")
        yield
    finally:
        os.close(held)


def locked(folder: Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            talk("waiting for another command on this lab")
            fcntl.flock(held, fcntl.LOCK_EX)
        # A `down` that had it before may have taken the folder away; the lock of a folder that is gone keeps nobody out.
        if folder.exists() and os.fstat(held).st_ino == folder.stat().st_ino:
            return held
        os.close(held)

"""The control groups of a lab: in every hierarchy `shopctl-lab-NUMBER/NODE`, which its node sees as the root.

The node's own programs are in `machine` below that; the kubelet makes `kubepods` beside it.
"""

import os
import time
from pathlib import Path

from .failure import Failure
from .place import Node, Place

CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")


def hierarchies() -> list[Path]:
    """Where this machine has them: one on version 2, one per set of controllers on version 1."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    first = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup"]
    return first or [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]


def make(node: Node) -> None:
    """Afresh: what the node left in its group when it was last switched off is gone."""
    for root in hierarchies():
        remove_tree(root / node.place.cgroup / node.name)
        group = root
        for part in (node.place.cgroup, node.name, "machine"):
            group = group / part
            group.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):
                # Version 1 lets nothing into a group of which it does not know where it may run.
                if (group / file).exists() and not (group / file).read_text().strip():
                    (group / file).write_text((group.parent / file).read_text())
        hand_down(root)
        hand_down(root / node.place.cgroup)


def hand_down_to_pods(node: Node) -> None:
    """Only once the node's programs are in `machine`: on version 2 a group that hands down holds no process itself."""
    for root in hierarchies():
        hand_down(root / node.place.cgroup / node.name)


def hand_down(group: Path) -> None:
    """On version 2 a group's children have only the controllers that it hands down."""
    handed = group / "cgroup.subtree_control"
    if not handed.exists():
        return
    for controller in CONTROLLERS:
        try:
            handed.write_text(f"+{controller}")
        except OSError:
            continue  # Not on this machine; the kubelet says so when it needs it.


def join(node: Node, below: str = "") -> list[str]:
    """What to put before a command so that it runs in the node's group, or in one below that."""
    groups = " ".join(str(root / node.place.cgroup / node.name / below) for root in hierarchies())
    return ["sh", "-c", 'for group in $0; do echo 0 >"$group/cgroup.procs" || exit 1; done; exec "$@"', groups]


def remove(place: Place, seconds: float = 20) -> None:
    """The kernel lets an empty group go only when the last of its processes is quite gone, so this may take a moment."""
    deadline = time.monotonic() + seconds
    for root in hierarchies():
        top = root / place.cgroup
        while top.exists():
            stuck = remove_tree(top)
            if stuck is not None and time.monotonic() > deadline:
                raise Failure(f"the control group {stuck} does not go away")
            if stuck is not None:
                time.sleep(0.05)


def remove_tree(top: Path) -> Path | None:
    """Removes from the leaves up, and names what could not be removed."""
    stuck = None
    for folder, _, _ in os.walk(top, topdown=False):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            continue
        except OSError:
            stuck = stuck or Path(folder)
    return stuck

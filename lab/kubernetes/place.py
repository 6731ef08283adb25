"""Where a lab is: its folder, its number, and every name and address that follows from them.

A lab owns one `/16`, `10.NUMBER.0.0`, so that several can run beside each other on one machine:

    10.N.0.1           the host's end of the bridge: API server, etcd, controller manager, scheduler
    10.N.0.11, .12 …   the nodes
    10.N.65.0/24 …     the pods of the first node, and so on (all of them: 10.N.64.0/18)
    10.N.128.0/17      Services; .128.1 is the API server's, .128.10 the name service's
"""

import json
import os
import string
from dataclasses import dataclass
from pathlib import Path

DEFAULT_FOLDER = "/var/lib/shopctl-lab"
NUMBERS = range(99, 120)
MOST_NODES = 20


def default_folder() -> Path:
    return Path(os.environ.get("SHOPCTL_LAB_DIR") or DEFAULT_FOLDER)


@dataclass(frozen=True)
class Node:
    """One machine of the lab, as the outside sees it. Inside, the lab's folder is `/run/lab`."""

    place: "Place"
    index: int

    @property
    def letter(self) -> str:
        return string.ascii_lowercase[self.index]

    @property
    def name(self) -> str:
        return f"node-{self.letter}"

    @property
    def zone(self) -> str:
        return string.ascii_lowercase[self.index % 3]

    @property
    def address(self) -> str:
        return f"10.{self.place.number}.0.{11 + self.index}"

    @property
    def pods(self) -> str:
        return f"10.{self.place.number}.{65 + self.index}.0/24"

    @property
    def wire(self) -> str:
        """The host's end of the node's cable."""
        return f"{self.place.bridge}-{self.letter}"

    @property
    def folder(self) -> Path:
        return self.place.folder / "nodes" / self.name


@dataclass(frozen=True)
class Place:
    folder: Path
    number: int
    node_count: int

    @staticmethod
    def read(folder: Path) -> "Place | None":
        """The lab that is in this folder, also when its `up` was not finished."""
        try:
            found = json.loads((folder / "lab.json").read_text())
        except FileNotFoundError:
            return None
        return Place(folder, found["number"], found["nodes"])

    def write(self) -> None:
        """Names the lab in its folder, before anything else of it is made."""
        text = json.dumps({"number": self.number, "nodes": self.node_count})
        unfinished = self.folder / "lab.json.new"
        unfinished.write_text(text)
        unfinished.rename(self.folder / "lab.json")

    @property
    def nodes(self) -> list[Node]:
        return [Node(self, index) for index in range(self.node_count)]

    @property
    def bridge(self) -> str:
        return f"lab{self.number}"

    @property
    def cgroup(self) -> str:
        return f"shopctl-lab-{self.number}"

    @property
    def address(self) -> str:
        return f"10.{self.number}.0.1"

    @property
    def machines(self) -> str:
        return f"10.{self.number}.0.0/24"

    @property
    def pods(self) -> str:
        return f"10.{self.number}.64.0/18"

    @property
    def services(self) -> str:
        return f"10.{self.number}.128.0/17"

    @property
    def api_service(self) -> str:
        return f"10.{self.number}.128.1"

    @property
    def name_service(self) -> str:
        return f"10.{self.number}.128.10"

    @property
    def server(self) -> str:
        return f"https://{self.address}:6443"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def certificates(self) -> Path:
        return self.folder / "certificates"

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def volumes(self) -> Path:
        return self.folder / "volumes"

    @property
    def finished(self) -> Path:
        """Exists from the end of `up` on."""
        return self.folder / "up"

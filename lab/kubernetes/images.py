"""The lab's own images: laid out from what was built, and brought to every node. There is no registry.

`lab.local` is no host: a tag there is found on the node or not at all. The images that each lab has are imported once, into
a containerd folder that is kept (the *stock*); a node starts with links to it, which takes no time and no room.
"""

import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import image

from . import build, node, postgres
from .failure import Failure, talk
from .place import Node, Place

PROGRAMS = ("pause", "coredns", "metrics-server", "probe")


def archives() -> dict[str, Path]:
    """Lays out what is missing and gives back where each is."""
    found = {name: of_program(name) for name in PROGRAMS}
    found["postgres"] = postgres.archive()
    return found


def stock() -> Path:
    """The containerd folder that has the lab's images, made when it is missing."""
    files = list(archives().values())
    version = subprocess.run(["containerd", "--version"], capture_output=True, text=True).stdout
    folder = build.kept_image("stock", version, *(file.name for file in files)).with_suffix("")
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
        fill(unfinished, files)
        unfinished.rename(folder)
    os.utime(folder)
    return folder


def fill(folder: Path, files: list[Path]) -> None:
    """Imports by a containerd of its own, in a mount namespace of its own, that ends with the import."""
    talk("importing the images into the stock")
    with tempfile.TemporaryDirectory() as work:
        settings = Path(work) / "containerd.toml"
        settings.write_text(f'version = 2\nroot = "{folder}"\nstate = "{work}/state"\n'
                            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{work}/socket"\n')
        importing = """
            containerd --config="$0/containerd.toml" --log-level=warn >"$0/log" 2>&1 &
            for file in "$@"; do
              ctr --address="$0/socket" --namespace=k8s.io images import "$file" >>"$0/log" 2>&1 || exit 1
            done
            kill $!
            wait $!"""
        alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        done = subprocess.run([*alone, "sh", "-c", importing, work, *map(str, files)])
        if done.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            raise Failure("could not import the images:\n" + (Path(work) / "log").read_text())


def take_from_stock(each: Node, stocked: Path) -> None:
    """Images do not change, so links will do; what containerd notes about them is the node's own."""
    target = each.folder / "lib" / "containerd"
    target.parent.mkdir(parents=True, exist_ok=True)
    linked = subprocess.run(["cp", "--archive", "--link", str(stocked), str(target)], capture_output=True)
    if linked.returncode != 0:  # The cache is on another disk.
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "--archive", str(stocked), str(target)], check=True)
    for notes in target.rglob("*.db"):
        own = notes.with_suffix(".own")
        shutil.copy(notes, own)
        own.rename(notes)


def of_program(name: str) -> Path:
    """An image of one static program, and nothing else."""
    program = build.programs()[name]
    archive = build.kept_image(name, program.name, Path(image.__file__).read_text())
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(program, Path(folder) / name)
            image.write(Path(folder), tag(name), archive, [f"/{name}"])
    archive.touch()
    return archive


def tag(name: str) -> str:
    return f"lab.local/{name}:1"


def load(place: Place, files: list[Path]) -> None:
    """Imports the archives into every node, all nodes at the same time."""
    for file in files:
        if not file.is_file():
            raise Failure(f"there is no archive {file}")
    with ThreadPoolExecutor() as pool:
        for loaded in [pool.submit(load_into, each, files) for each in place.nodes]:
            loaded.result()


def load_into(each: Node, files: list[Path]) -> None:
    for file in files:
        with file.open("rb") as archive:
            node.feed(each, archive, "ctr", "--namespace=k8s.io", "images", "import", "-")

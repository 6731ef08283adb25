"""The lab's own images: laid out from what was built, kept beside it, and imported into every node. There is no registry.

`lab.local` is no host: a tag there is found on the node or not at all.
"""

import hashlib
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import image

from . import build, node, postgres
from .failure import Failure
from .place import Place

PROGRAMS = ("pause", "coredns", "metrics-server", "probe")


def archives() -> dict[str, Path]:
    """Lays out what is missing and gives back where each is."""
    found = {name: of_program(name) for name in PROGRAMS}
    found["postgres"] = postgres.archive()
    return found


def of_program(name: str) -> Path:
    """An image of one static program, and nothing else."""
    program = build.programs()[name]
    archive = kept(name, program.name, Path(image.__file__).read_text())
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(program, Path(folder) / name)
            image.write(Path(folder), tag(name), archive, [f"/{name}"])
    archive.touch()
    return archive


def kept(name: str, *decides: str) -> Path:
    digest = hashlib.sha256("\0".join(decides).encode()).hexdigest()[:16]
    return build.cache_folder() / "images" / f"{name}-{digest}.tar"


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


def load_into(each: node.Node, files: list[Path]) -> None:
    for file in files:
        with file.open("rb") as archive:
            node.feed(each, archive, "ctr", "--namespace=k8s.io", "images", "import", "-")

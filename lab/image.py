#!/usr/bin/env python3
"""Lays out a container image as a docker archive, from a folder, without any engine. Same inputs, same bytes.

    lab/image.py --from FOLDER --tag lab.local/probe:1 --output probe.tar --entrypoint /probe --user 65532

One layer, its config, and the manifest: what `docker load`, `podman load` and `ctr images import` read. Times are zero,
owners are root, and entries are in the order of their names.
"""

import argparse
import hashlib
import io
import json
import os
import platform
import tarfile
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write(folder: Path, tag: str, output: Path, entrypoint: list[str], user: str = "65532:65532",
          environment: dict[str, str] | None = None, working_folder: str = "/") -> None:
    layer = layer_of(folder)
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps({
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()), "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Entrypoint": entrypoint, "User": user, "WorkingDir": working_folder,
                   "Env": [f"{name}={value}" for name, value in sorted((environment or {}).items())]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "lab/image.py"}],
    }, sort_keys=True).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    layer_name = f"{digest}/layer.tar"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [tag], "Layers": [layer_name]}]).encode()
    unfinished = output.with_name(f"{output.name}.{os.getpid()}")
    with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in ((config_name, config), (layer_name, layer), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    unfinished.rename(output)


def layer_of(folder: Path) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as layer:
        for path in sorted(folder.rglob("*")):
            layer.add(path, arcname=str(path.relative_to(folder)), recursive=False, filter=plain)
    return data.getvalue()


def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = 0
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def main() -> None:
    words = argparse.ArgumentParser(description="Lays out a container image as a docker archive, from a folder.")
    words.add_argument("--from", dest="folder", type=Path, required=True)
    words.add_argument("--tag", required=True)
    words.add_argument("--output", type=Path, required=True)
    words.add_argument("--entrypoint", nargs="+", required=True)
    words.add_argument("--user", default="65532:65532")
    words.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    asked = words.parse_args()
    environment = dict(each.split("=", 1) for each in asked.env)
    write(asked.folder, asked.tag, asked.output, asked.entrypoint, asked.user, environment)


if __name__ == "__main__":
    main()

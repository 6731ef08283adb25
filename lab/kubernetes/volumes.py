"""The lab's disks: folders of the host that every node sees, as a disk in the network would be.

`up` makes them with their PersistentVolumes, in the default class `lab`. What a claim leaves behind stays (`Retain`) until
`recycle` empties the disk and puts it back.
"""

import fcntl
import os
import shutil

from . import api
from .failure import talk
from .place import Place

COUNT = 6
CLASS = "lab"


def make(place: Place) -> None:
    """Makes the folders. Whoever a pod runs as may write there."""
    for name in names():
        folder = place.volumes / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)


def names() -> list[str]:
    return [f"volume-{number}" for number in range(1, COUNT + 1)]


def manifests() -> list[dict]:
    return [{
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Retain",
    }] + [volume(name) for name in names()]


def volume(name: str) -> dict:
    every_node = {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}
    return {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": CLASS,
            "persistentVolumeReclaimPolicy": "Retain", "local": {"path": f"/run/lab/volumes/{name}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [every_node]}]}},
        },
    }


def recycle(place: Place) -> list[str]:
    """Empties the disks whose claim is gone, and offers them again. Gives back which. One at a time: a disk that somebody
    else has offered again meanwhile may have a new owner."""
    folder = os.open(place.volumes, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        return recycled(place)
    finally:
        os.close(folder)


def recycled(place: Place) -> list[str]:
    volumes = api.ask(place, "/api/v1/persistentvolumes")["items"]
    released = [each["metadata"]["name"] for each in volumes if each["status"].get("phase") in ("Released", "Failed")]
    for name in released:
        if name in names():
            empty(place, name)
            api.ask(place, f"/api/v1/persistentvolumes/{name}", "PATCH", {"spec": {"claimRef": None}},
                    "application/merge-patch+json")
            talk(f"{name} is empty and available")
    return released


def empty(place: Place, name: str) -> None:
    for entry in (place.volumes / name).iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    (place.volumes / name).chmod(0o777)

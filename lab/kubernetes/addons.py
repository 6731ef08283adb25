"""What runs in the cluster before anything of ours does: the name service, metrics, and the class of its disks."""

import json
import string
import subprocess
from collections.abc import Iterator
from pathlib import Path

from . import api, volumes
from .failure import Failure, wait_until
from .place import Place

MANIFESTS = Path(__file__).parent / "manifests"
DEPLOYMENTS = ("coredns", "metrics-server")


def apply(place: Place) -> None:
    texts = [string.Template(file.read_text()).substitute(name_service=place.name_service,
                                                          name_servers=min(2, place.node_count))
             for file in sorted(MANIFESTS.glob("*.yaml"))]
    texts += [json.dumps(each) for each in volumes.manifests()]
    done = subprocess.run(
        [f"{place.bin}/kubectl", f"--kubeconfig={place.kubeconfig}", "apply", "--server-side", "--filename=-"],
        input="\n---\n".join(texts), capture_output=True, text=True,
    )
    if done.returncode != 0:
        raise Failure(f"could not apply the add-ons: {done.stderr.strip()}")


def wait_ready(place: Place) -> Iterator[str]:
    """Waits for one after the other, and says what has come."""
    for name in DEPLOYMENTS:
        wait_until(f"{name} was not ready", lambda: deployment_obstacle(place, name), 90)
        yield f"{name} is ready"
    wait_until("metrics were not there", lambda: metrics_obstacle(place), 60)
    yield "every node has metrics"


def deployment_obstacle(place: Place, name: str) -> str | None:
    try:
        found = api.ask(place, f"/apis/apps/v1/namespaces/kube-system/deployments/{name}")
        wanted, ready = found["spec"]["replicas"], found["status"].get("readyReplicas", 0)
        return None if ready == wanted else f"{ready} of {wanted} are ready; {complaints(place, name)}"
    except OSError as failed:
        return str(failed)


def complaints(place: Place, name: str) -> str:
    """What the cluster says about the add-on's pods."""
    events = api.ask(place, "/api/v1/namespaces/kube-system/events?fieldSelector=type%3DWarning")["items"]
    said = [event["message"] for event in events if event["involvedObject"]["name"].startswith(name)]
    return said[-1] if said else "no warning about it yet"


def metrics_obstacle(place: Place) -> str | None:
    try:
        counted = len(api.ask(place, "/apis/metrics.k8s.io/v1beta1/nodes")["items"])
    except OSError as failed:
        return str(failed)
    return None if counted == place.node_count else f"{counted} of {place.node_count} nodes have metrics"

"""A node: namespaces and control groups of its own, and in them containerd, kubelet and kube-proxy.

Its first process is `boot`. When that ends, the kernel ends everything inside and takes the mounts and the network along.
Inside, the lab's folder is `/run/lab`.
"""

import json
import shutil
import signal
import subprocess
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from . import api, cgroups, network, process
from .failure import Failure, wait_until
from .place import Node
from .process import Component

INSIDE = "/run/lab"


def components(node: Node) -> list[Component]:
    """In the order in which they start, without the node itself."""
    return [containerd(node), kubelet(node), kube_proxy(node)]


def machine(node: Node) -> Component:
    """The node as such: it runs as long as its first process does."""
    spaces = ["--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return Component(node.place, "machine", [
        *cgroups.join(node), "unshare", "--cgroup", *cgroups.join(node, "machine"),
        "unshare", *spaces, str(Path(__file__).parent / "boot"), str(node.place.folder), node.name,
    ], lambda: None if (node.folder / "run/booted").exists() else "it has not booted", node)


def boot(node: Node) -> None:
    cgroups.make(node)
    shutil.rmtree(node.folder / "run", ignore_errors=True)  # A machine that was reset has forgotten it.
    write_settings(node)
    process.start(machine(node))
    process.wait_ready(machine(node), 30)
    cgroups.hand_down_to_pods(node)
    network.plug(node, init(node))


def halt(node: Node) -> None:
    """As if the plug were pulled."""
    process.stop(machine(node), signal.SIGKILL)
    for component in components(node):
        process.stop(component, signal.SIGKILL)


def init(node: Node) -> int:
    """The node's first process, as the host sees it."""
    pid = process.pid_of(machine(node))
    if pid is None:
        raise Failure(f"{node.name} is not running", process.log_file(node.place, "machine", node))
    return pid


def enter(node: Node) -> list[str]:
    """What to put before a command so that it runs on the node."""
    spaces = ["--mount", "--net", "--uts", "--ipc", "--pid", "--cgroup"]
    return [*cgroups.join(node, "machine"), "nsenter", f"--target={init(node)}", *spaces, "--"]


def run(node: Node, *command: str) -> str:
    """Runs a command on the node and gives back what it printed."""
    done = subprocess.run([*enter(node), *command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{command[0]} failed on {node.name}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def feed(node: Node, file: BinaryIO, *command: str) -> None:
    """Runs a command on the node with a file as its standard input."""
    done = subprocess.run([*enter(node), *command], stdin=file, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{command[0]} failed on {node.name} with {file.name}: {done.stderr.strip()}")


def start(component: Component) -> None:
    process.start(component, enter(component.node))


def containerd(node: Node) -> Component:
    return Component(node.place, "containerd", [
        "containerd", f"--config={INSIDE}/nodes/{node.name}/containerd.toml", "--log-level=warn",
    ], lambda: containerd_obstacle(node), node)


def containerd_obstacle(node: Node) -> str | None:
    try:
        run(node, "ctr", "--connect-timeout=1s", "version")
        return None
    except Failure as failed:
        return str(failed)


def kubelet(node: Node) -> Component:
    return Component(node.place, "kubelet", [
        f"{INSIDE}/bin/kubelet", f"--config={INSIDE}/nodes/{node.name}/kubelet.json", f"--hostname-override={node.name}",
        f"--kubeconfig={INSIDE}/certificates/{node.name}.kubeconfig", f"--node-ip={node.address}",
    ], lambda: kubelet_obstacle(node), node)


def kubelet_obstacle(node: Node) -> str | None:
    """It has to say so itself, since the API server believes for a while what a kubelet said before it died."""
    unwell = api.plain_obstacle(f"http://{node.address}:10248/healthz")
    if unwell is not None:
        return unwell
    try:
        return None if api.ready_nodes(node.place).get(node.name) else f"{node.name} is not Ready"
    except OSError as failed:
        return f"the API server does not answer: {failed}"


def kube_proxy(node: Node) -> Component:
    return Component(node.place, "kube-proxy", [
        f"{INSIDE}/bin/kube-proxy", f"--config={INSIDE}/nodes/{node.name}/kube-proxy.json",
    ], lambda: api.plain_obstacle(f"http://{node.address}:10256/healthz"), node)


def register(node: Node) -> None:
    """Tells the API server of the node before its kubelet does: its zone, and which pods' addresses are its own."""
    wait_until(f"{node.name} could not be registered", lambda: registration_obstacle(node), 30)


def registration_obstacle(node: Node) -> str | None:
    labels = {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux",
              "topology.kubernetes.io/region": "lab", "topology.kubernetes.io/zone": node.zone}
    try:
        api.ask(node.place, "/api/v1/nodes", "POST", {
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": labels},
            "spec": {"podCIDR": node.pods, "podCIDRs": [node.pods]},
        })
    except OSError as failed:
        # An answer that was lost on the way may have been a yes.
        return None if getattr(failed, "code", None) == HTTPStatus.CONFLICT else str(failed)


def write_settings(node: Node) -> None:
    (node.folder / "cni").mkdir(parents=True, exist_ok=True)
    (node.folder / "containerd.toml").write_text(containerd_settings(node))
    for name, settings in (("kubelet.json", kubelet_settings(node)), ("kube-proxy.json", kube_proxy_settings(node)),
                           ("cni/10-lab.conflist", pod_network(node))):
        (node.folder / name).write_text(json.dumps(settings, indent=2))


def containerd_settings(node: Node) -> str:
    runtime = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "/run/containerd/containerd.sock"
[{runtime}]
sandbox_image = "lab.local/pause:1"
# Without CAP_SYS_RESOURCE nobody may make himself dearer to the kernel than he was.
restrict_oom_score_adj = true
[{runtime}.containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[{runtime}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{runtime}.containerd.runtimes.runc.options]
SystemdCgroup = false
[{runtime}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{INSIDE}/nodes/{node.name}/cni"
"""


def kubelet_settings(node: Node) -> dict:
    certificates = f"{INSIDE}/certificates"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": node.address, "healthzBindAddress": node.address,
        "tlsCertFile": f"{certificates}/{node.name}-serving.crt",
        "tlsPrivateKeyFile": f"{certificates}/{node.name}-serving.key",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                           "x509": {"clientCAFile": f"{certificates}/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "clusterDomain": "cluster.local", "clusterDNS": [node.place.name_service], "resolvConf": "/run/resolv.conf",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs", "cgroupRoot": "/", "enforceNodeAllocatable": ["pods"], "failCgroupV1": False,
        "failSwapOn": False, "oomScoreAdj": 0, "maxOpenFiles": 20000, "seccompDefault": True, "maxPods": 60,
        "serializeImagePulls": False, "nodeStatusUpdateFrequency": "4s",
        # Nobody can pull an image again, so none is thrown away.
        "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%",
                         "imagefs.available": "1%"},
        "evictionPressureTransitionPeriod": "5s",
    }


def kube_proxy_settings(node: Node) -> dict:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{INSIDE}/certificates/kube-proxy.kubeconfig"},
        "hostnameOverride": node.name, "bindAddress": "0.0.0.0", "clusterCIDR": node.place.pods,
        "mode": "iptables", "iptables": {"minSyncPeriod": "100ms"}, "oomScoreAdj": 0,
        # The kernel's table is the whole machine's.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def pod_network(node: Node) -> dict:
    """A cable of its own for each pod and routes between: every packet passes the node's filters, also to a neighbour."""
    return {"cniVersion": "1.0.0", "name": "lab", "plugins": [
        {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": node.pods}]],
                                 "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]}

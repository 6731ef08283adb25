"""The control plane, as processes of the host on the lab's bridge: etcd, API server, controller manager, scheduler.

The lab's data is thrown away with it, so etcd does not wait for the disk. There is one of each, so nobody elects a leader.
"""

import json

from . import api
from .place import Place
from .process import Component

NODE_GRACE_SECONDS = 16


def components(place: Place) -> list[Component]:
    """In the order in which they start."""
    return [etcd(place), apiserver(place), controller_manager(place), scheduler(place)]


def etcd(place: Place) -> Component:
    certificates, address = place.certificates, place.address
    return Component(place, "etcd", [
        f"{place.bin}/etcd", "--name=lab", f"--data-dir={place.folder}/etcd",
        "--unsafe-no-fsync", "--snapshot-count=10000", "--log-level=warn",
        f"--listen-client-urls=https://{address}:2379", f"--advertise-client-urls=https://{address}:2379",
        f"--listen-peer-urls=https://{address}:2380", f"--initial-advertise-peer-urls=https://{address}:2380",
        f"--initial-cluster=lab=https://{address}:2380", f"--listen-metrics-urls=http://{address}:2381",
        f"--cert-file={certificates}/etcd.crt", f"--key-file={certificates}/etcd.key",
        "--client-cert-auth", f"--trusted-ca-file={certificates}/etcd-ca.crt",
        f"--peer-cert-file={certificates}/etcd.crt", f"--peer-key-file={certificates}/etcd.key",
        "--peer-client-cert-auth", f"--peer-trusted-ca-file={certificates}/etcd-ca.crt",
    ], lambda: api.plain_obstacle(f"http://{address}:2381/readyz"))


def apiserver(place: Place) -> Component:
    certificates = place.certificates
    return Component(place, "apiserver", [
        f"{place.bin}/kube-apiserver", f"--bind-address={place.address}", f"--advertise-address={place.address}",
        "--secure-port=6443", f"--service-cluster-ip-range={place.services}",
        f"--tls-cert-file={certificates}/apiserver.crt", f"--tls-private-key-file={certificates}/apiserver.key",
        f"--client-ca-file={certificates}/ca.crt", "--anonymous-auth=false", "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction", f"--admission-control-config-file={place.folder}/admission.json",
        "--allow-privileged=true",
        f"--etcd-servers=https://{place.address}:2379", f"--etcd-cafile={certificates}/etcd-ca.crt",
        f"--etcd-certfile={certificates}/etcd-client.crt", f"--etcd-keyfile={certificates}/etcd-client.key",
        # Logs and exec would look the node's name up, which nobody answers.
        "--kubelet-preferred-address-types=InternalIP", f"--kubelet-certificate-authority={certificates}/ca.crt",
        f"--kubelet-client-certificate={certificates}/kubelet-client.crt",
        f"--kubelet-client-key={certificates}/kubelet-client.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={certificates}/service-accounts.pub",
        f"--service-account-signing-key-file={certificates}/service-accounts.key",
        f"--requestheader-client-ca-file={certificates}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={certificates}/front-proxy-client.crt",
        f"--proxy-client-key-file={certificates}/front-proxy-client.key",
        # Extensions are asked at their pods, so that no single node stands between.
        "--enable-aggregator-routing=true",
    ], lambda: api.obstacle(place, "/readyz"))


def controller_manager(place: Place) -> Component:
    certificates = place.certificates
    return Component(place, "controller-manager", [
        f"{place.bin}/kube-controller-manager", f"--bind-address={place.address}", "--leader-elect=false",
        *client(place, "controller-manager"), "--use-service-account-credentials",
        f"--service-account-private-key-file={certificates}/service-accounts.key",
        f"--root-ca-file={certificates}/ca.crt", f"--cluster-signing-cert-file={certificates}/ca.crt",
        f"--cluster-signing-key-file={certificates}/ca.key", "--kube-api-qps=200", "--kube-api-burst=400",
        "--horizontal-pod-autoscaler-sync-period=5s",
        "--node-monitor-period=2s", f"--node-monitor-grace-period={NODE_GRACE_SECONDS}s",
    ], lambda: api.plain_obstacle(f"https://{place.address}:10257/healthz"))


def scheduler(place: Place) -> Component:
    return Component(place, "scheduler", [
        f"{place.bin}/kube-scheduler", f"--bind-address={place.address}", "--leader-elect=false",
        *client(place, "scheduler"), "--kube-api-qps=200", "--kube-api-burst=400",
    ], lambda: api.plain_obstacle(f"https://{place.address}:10259/healthz"))


def client(place: Place, name: str) -> list[str]:
    """Who it is to the API server, and to whom it listens itself."""
    file = f"{place.certificates}/{name}.kubeconfig"
    return [f"--kubeconfig={file}", f"--authentication-kubeconfig={file}", f"--authorization-kubeconfig={file}"]


def write_admission(place: Place) -> None:
    """Restricted Pod Security for every namespace but the cluster's own, which is what the shop has to live with."""
    levels = {f"{mode}{part}": value for mode in ("enforce", "audit", "warn")
              for part, value in (("", "restricted"), ("-version", "latest"))}
    (place.folder / "admission.json").write_text(json.dumps({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": [{"name": "PodSecurity", "configuration": {
            "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
            "defaults": levels, "exemptions": {"namespaces": ["kube-system"]},
        }}],
    }))

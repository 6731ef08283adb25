"""Every key and certificate of a lab, made anew at each `up` by openssl, and the kubeconfig files that carry them.

Three authorities, as in a cluster of kubeadm: `ca` for the cluster, `etcd-ca` so that no node's certificate opens the
database, `front-proxy-ca` for the API server's word on who asks an extension.
"""

import base64
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .failure import Failure
from .place import Place

DAYS = "30"
ADMINISTRATORS = "system:masters"


def make(place: Place) -> None:
    folder = place.certificates
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with ThreadPoolExecutor() as pool:
        finish(pool.submit(authority, folder, name) for name in ("ca", "etcd-ca", "front-proxy-ca"))
        finish([pool.submit(service_account_key, folder)] + [pool.submit(signed, folder, *each) for each in wanted(place)])
    kubeconfig(place, place.kubeconfig, "admin")
    for name in ("controller-manager", "scheduler", "kube-proxy"):
        kubeconfig(place, folder / f"{name}.kubeconfig", name)
    for node in place.nodes:
        kubeconfig(place, folder / f"{node.name}.kubeconfig", node.name)


def wanted(place: Place) -> list[tuple[str, str, str, str]]:
    """Name of the file, authority, subject, and the names it answers to."""
    api = ["DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc", "DNS:localhost",
           "DNS:kubernetes.default.svc.cluster.local", f"IP:{place.address}", f"IP:{place.api_service}"]
    certificates = [
        ("etcd", "etcd-ca", "/CN=etcd", f"IP:{place.address}"),
        ("etcd-client", "etcd-ca", "/CN=kube-apiserver", ""),
        ("front-proxy-client", "front-proxy-ca", "/CN=front-proxy-client", ""),
        ("apiserver", "ca", "/CN=kube-apiserver", ",".join(api)),
        ("kubelet-client", "ca", f"/O={ADMINISTRATORS}/CN=kube-apiserver-kubelet-client", ""),
        ("admin", "ca", f"/O={ADMINISTRATORS}/CN=lab-admin", ""),
        ("controller-manager", "ca", "/CN=system:kube-controller-manager", ""),
        ("scheduler", "ca", "/CN=system:kube-scheduler", ""),
        ("kube-proxy", "ca", "/CN=system:kube-proxy", ""),
    ]
    for node in place.nodes:
        certificates.append((node.name, "ca", f"/O=system:nodes/CN=system:node:{node.name}", ""))
        certificates.append((f"{node.name}-serving", "ca", f"/CN={node.name}", f"DNS:{node.name},IP:{node.address}"))
    return certificates


def authority(folder: Path, name: str) -> None:
    openssl(*new_key(folder, name), "-x509", "-subj", f"/CN={name}", "-out", str(folder / f"{name}.crt"),
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "subjectKeyIdentifier=hash",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")


def signed(folder: Path, name: str, by: str, subject: str, answers_to: str) -> None:
    names = ["-addext", f"subjectAltName={answers_to}"] if answers_to else []
    openssl(*new_key(folder, name), "-x509", "-subj", subject, "-out", str(folder / f"{name}.crt"), *names,
            "-CA", str(folder / f"{by}.crt"), "-CAkey", str(folder / f"{by}.key"),
            "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "authorityKeyIdentifier=keyid",
            "-addext", "keyUsage=critical,digitalSignature",
            "-addext", "extendedKeyUsage=serverAuth,clientAuth")


def new_key(folder: Path, name: str) -> list[str]:
    return ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", DAYS,
            "-keyout", str(folder / f"{name}.key")]


def service_account_key(folder: Path) -> None:
    """Signs the tokens of service accounts."""
    key = str(folder / "service-accounts.key")
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    openssl("pkey", "-in", key, "-pubout", "-out", str(folder / "service-accounts.pub"))


def openssl(*arguments: str) -> None:
    # openssl.cnf of the machine must not add extensions of its own, so none is read.
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, env={"OPENSSL_CONF": "/dev/null"})
    if done.returncode != 0:
        raise Failure(f"openssl {arguments[0]} failed: {done.stderr.strip()}")


def kubeconfig(place: Place, file: Path, who: str) -> None:
    """A file that holds all it needs, so that it may be copied elsewhere."""
    folder = place.certificates

    def data(name: str) -> str:
        return base64.b64encode((folder / name).read_bytes()).decode()

    file.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": place.server, "certificate-authority-data": data("ca.crt")}}],
        "users": [{"name": who, "user": {"client-certificate-data": data(f"{who}.crt"),
                                         "client-key-data": data(f"{who}.key")}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": who}}],
    }, indent=2))
    file.chmod(0o600)


def finish(made) -> None:
    for each in list(made):
        each.result()

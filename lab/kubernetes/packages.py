"""The Debian packages that the lab runs on, installed by name when they are missing."""

import os
import shutil
import subprocess

from .failure import Failure, talk

NEEDED = {
    "containerd": "containerd", "runc": "runc", "iptables": "iptables", "nft": "nftables", "conntrack": "conntrack",
    "ethtool": "ethtool", "socat": "socat", "ip": "iproute2", "openssl": "openssl", "unshare": "util-linux",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "/usr/lib/postgresql/15/bin/postgres": "postgresql-15",  # Its libraries go into the image.
}

APT = ("apt-get", "-o", "DPkg::Lock::Timeout=600")  # Another installation is waited for.


def install() -> None:
    if os.geteuid() != 0:
        raise Failure("the lab makes namespaces, mounts and control groups, which only root may", hint="sudo")
    missing = sorted(package for program, package in NEEDED.items() if not shutil.which(program))
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Failure(f"{', '.join(missing)} is missing, and this machine has no apt-get")
    talk(f"installing {', '.join(missing)}")
    run(*APT, "update", "-qq")
    run(*APT, "install", "-y", "-qq", "--no-install-recommends", *missing)


def run(*command: str) -> None:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)} failed: {done.stderr.strip()}")

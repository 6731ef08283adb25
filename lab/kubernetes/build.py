"""Builds what the lab runs out of Go modules (`lab/go.mod`), and keeps it by the hash of all that decides its bytes.

The cache is `$SHOPCTL_LAB_CACHE`, else `shopctl-lab` in the user's cache folder. Each program is kept on its own, so a
build that was cut short goes on where it was.
"""

import hashlib
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .failure import Failure, talk

MODULE = Path(__file__).resolve().parent.parent
UNUSED_DAYS = 30


@dataclass(frozen=True)
class Program:
    name: str
    package: str

    @property
    def is_ours(self) -> bool:
        return self.package.startswith("./")


KUBERNETES = [Program(name, f"k8s.io/kubernetes/cmd/{name}") for name in
              ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")]
PROGRAMS = [
    *KUBERNETES,
    Program("etcd", "go.etcd.io/etcd/server/v3"),
    Program("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),
    Program("helm", "helm.sh/helm/v3/cmd/helm"),
    Program("helm4", "helm.sh/helm/v4/cmd/helm"),
    Program("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
    Program("coredns", "./programs/coredns"),
    Program("pause", "./programs/pause"),
    Program("probe", "./programs/probe"),
]


def cache_folder() -> Path:
    chosen = os.environ.get("SHOPCTL_LAB_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shopctl-lab"


def programs() -> dict[str, Path]:
    """Builds what is missing and gives back where each is."""
    missing = [program for program in PROGRAMS if not kept(program).exists()]
    if missing:
        talk(f"building {len(missing)} of {len(PROGRAMS)} programs; from nothing this takes some minutes")
    for program in missing:
        build(program)
    for program in PROGRAMS:
        os.utime(kept(program))
    return {program.name: kept(program) for program in PROGRAMS}


def build(program: Program) -> None:
    target = kept(program)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    began = time.monotonic()
    done = subprocess.run(["go", "build", *flags(), "-o", str(unfinished), program.package], cwd=MODULE,
                          env={**os.environ, "CGO_ENABLED": "0"})
    if done.returncode != 0:
        raise Failure(f"could not build {program.name} from {program.package}")
    unfinished.rename(target)
    talk(f"  {program.name}: {time.monotonic() - began:.0f} s")


def kept(program: Program) -> Path:
    return cache_folder() / "bin" / f"{program.name}-{key(program)}"


def kept_image(name: str, *decides: str) -> Path:
    """Where what was made out of programs is kept, by all that decides its bytes."""
    digest = hashlib.sha256("\0".join(decides).encode()).hexdigest()[:16]
    return cache_folder() / "images" / f"{name}-{digest}.tar"


@cache
def key(program: Program) -> str:
    decides = [go_version(), *flags(), program.package, (MODULE / "go.mod").read_text(), (MODULE / "go.sum").read_text()]
    if program.is_ours:
        decides += [source.read_text() for source in sorted((MODULE / program.package).glob("*.go"))]
    return hashlib.sha256("\0".join(decides).encode()).hexdigest()[:16]


@cache
def flags() -> tuple[str, ...]:
    version = module_version("k8s.io/kubernetes")
    names = ("k8s.io/component-base/version.gitVersion", "k8s.io/client-go/pkg/version.gitVersion")
    said = " ".join(f"-X {name}={version}" for name in names)
    return ("-trimpath", "-buildvcs=false", f"-ldflags=-s -w {said}")


@cache
def go_version() -> str:
    if shutil.which("go") is None:
        raise Failure("there is no go on PATH", hint="install Go 1.25 or newer: https://go.dev/dl")
    return subprocess.run(["go", "version"], capture_output=True, text=True, check=True).stdout.strip()


def module_version(module: str) -> str:
    found = re.search(rf"^(?:require)?\s*{re.escape(module)} (v\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise Failure(f"lab/go.mod does not require {module}")
    return found.group(1)


def forget_unused() -> None:
    """Takes away what no `up` and no `build` has used for a month."""
    oldest = time.time() - UNUSED_DAYS * 24 * 3600
    for kind in ("bin", "images"):
        folder = cache_folder() / kind
        for file in folder.iterdir() if folder.exists() else []:
            if file.stat().st_mtime < oldest:
                shutil.rmtree(file) if file.is_dir() else file.unlink()

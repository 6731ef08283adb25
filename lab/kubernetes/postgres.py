"""The lab's PostgreSQL image, laid out from Debian's own packages.

It takes the variables of the usual `postgres` image (`POSTGRES_USER`, `POSTGRES_PASSWORD_FILE`, `POSTGRES_DB`, `PGDATA`),
so a chart can have either. `lab/images/postgres/entrypoint` says how it starts.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab import image

from . import build
from .failure import Failure, talk

SOURCES = Path(__file__).resolve().parent.parent / "images" / "postgres"
VERSION = "15"
PACKAGES = [f"postgresql-{VERSION}", f"postgresql-client-{VERSION}", "busybox-static", "libc-bin", "tzdata", "util-linux"]
PROGRAMS = ("postgres", "initdb", "pg_ctl", "psql", "pg_isready", "pg_dump", "pg_restore", "pg_controldata")
LEFT_OUT = (f"usr/lib/postgresql/{VERSION}/lib/bitcode", "usr/share/locale", "usr/share/doc", "usr/share/man")
TAG = f"lab.local/postgres:{VERSION}"
PEOPLE = {"root": 0, "postgres": 999, "nonroot": 65532}


def archive() -> Path:
    candidates = subprocess.run(["apt-cache", "policy", *PACKAGES], capture_output=True, text=True).stdout
    versions = re.findall(r"Candidate: (\S+)", candidates)
    if len(versions) < len(PACKAGES):
        raise Failure(f"apt does not know all of {', '.join(PACKAGES)}", hint="apt-get update")
    sources = [file.read_text() for file in (Path(__file__), Path(image.__file__), SOURCES / "entrypoint")]
    kept = build.kept_image("postgres", *versions, *sources)
    if not kept.exists():
        talk("laying out the image of PostgreSQL")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            lay_out(Path(folder), kept)
    kept.touch()
    return kept


def lay_out(work: Path, kept: Path) -> None:
    packages, root = work / "packages", work / "root"
    unpack(packages, PACKAGES)
    take_programs(packages, root)
    take_libraries(packages, root)
    take_settings(packages, root)
    image.write(root, TAG, kept, ["/entrypoint"], user="999:999", environment={
        "PATH": f"/usr/lib/postgresql/{VERSION}/bin:/usr/bin:/bin", "PGDATA": "/var/lib/postgresql/data/pgdata",
        "LANG": "C.UTF-8",
    })


def unpack(into: Path, packages: list[str]) -> None:
    """Fetches the packages, and unpacks them without installing anything."""
    fetched = into.with_name("fetched")
    fetched.mkdir(exist_ok=True)
    run("apt-get", "-o", "APT::Sandbox::User=root", "-qq", "download", *packages, folder=fetched)
    for file in sorted(fetched.glob("*.deb")):
        run("dpkg-deb", "-x", str(file), str(into))
        file.unlink()


def take_programs(packages: Path, root: Path) -> None:
    tools = f"usr/lib/postgresql/{VERSION}"
    for left_out in LEFT_OUT:
        shutil.rmtree(packages / left_out, ignore_errors=True)
    for folder in (f"{tools}/lib", f"usr/share/postgresql/{VERSION}", "usr/share/zoneinfo"):
        shutil.copytree(packages / folder, root / folder, symlinks=True)
    for llvm in (root / tools / "lib").glob("llvmjit*"):
        llvm.unlink()  # Compiling queries would bring a hundred megabytes of LLVM.
    (root / tools / "bin").mkdir()
    for name in PROGRAMS:
        shutil.copy(packages / tools / "bin" / name, root / tools / "bin" / name)
    (root / "bin").mkdir()
    shutil.copy(packages / "bin/busybox", root / "bin/busybox")
    shutil.copy(packages / "usr/bin/flock", root / "bin/flock")  # Debian's busybox has none.
    for applet in run(str(root / "bin/busybox"), "--list").split():
        if not (root / "bin" / applet).exists():
            (root / "bin" / applet).symlink_to("busybox")


def take_libraries(packages: Path, root: Path) -> None:
    """What the programs and their modules name, and what that names, from the packages that this machine has it from."""
    tools = root / f"usr/lib/postgresql/{VERSION}"
    files = [str(file) for file in (*sorted((tools / "bin").iterdir()), *sorted((tools / "lib").glob("*.so")))]
    named = subprocess.run(["ldd", *files], capture_output=True, text=True).stdout
    missing = sorted(set(re.findall(r"^\s*(\S+) => not found", named, re.MULTILINE)))
    if missing:
        raise Failure(f"PostgreSQL needs {', '.join(missing)}, which this machine does not have",
                      hint=f"apt-get install postgresql-{VERSION}")
    for library in sorted(set(re.findall(r"(/\S+\.so\S*)", named))):
        if str(root) not in library:
            target = root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)


def take_settings(packages: Path, root: Path) -> None:
    for folder in ("etc", "tmp", "var/run/postgresql", "var/lib/postgresql/data"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("".join(f"{name}:x:{uid}:{uid}::/tmp:/bin/sh\n" for name, uid in PEOPLE.items()))
    (root / "etc/group").write_text("".join(f"{name}:x:{uid}:\n" for name, uid in PEOPLE.items()))
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    shutil.copytree(packages / "usr/lib/locale/C.utf8", root / "usr/lib/locale/C.utf8")
    shutil.copy(SOURCES / "entrypoint", root / "entrypoint")
    (root / "entrypoint").chmod(0o755)


def run(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout

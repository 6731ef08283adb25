"""The lab's processes: started with a pid file and a log, asked whether they run, and stopped.

A process writes its own pid file before it becomes the program, so that no process is without one however `up` ends. Each
carries `SHOPCTL_LAB=FOLDER` in its environment: a pid that now belongs to somebody else is never taken for ours.
"""

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from .failure import Failure, wait_until
from .place import Node, Place

MARK = "SHOPCTL_LAB"
KERNEL_THREAD = 0x0020_0000
"""Of a process' flags, as the kernel numbers them."""
BECOMING_SECONDS = 0.5
"""How long a process may take from one program to the next."""


@dataclass(frozen=True)
class Component:
    """A program of the lab, on the host or inside a node."""

    place: Place
    name: str
    arguments: list[str]
    obstacle: Callable[[], str | None]
    """What keeps it from being ready, in words; nothing when it is."""
    node: Node | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return self.name if self.node is None else f"{self.name} of {self.node.name}"

    @property
    def pid_file(self) -> Path:
        return pid_file(self.place, self.name, self.node)

    @property
    def log(self) -> Path:
        return log_file(self.place, self.name, self.node)


def pid_file(place: Place, name: str, node: Node | None = None) -> Path:
    return place.folder / "pids" / (name if node is None else f"{node.name}.{name}")


def log_file(place: Place, name: str, node: Node | None = None) -> Path:
    return place.folder / "logs" / (f"{name}.log" if node is None else f"{node.name}.{name}.log")


def start(component: Component, prefix: list[str] | None = None) -> None:
    """Starts it with what comes before its arguments, e.g. the way into a node. Running already is fine."""
    if wrapper_pid(component) is not None:
        return
    for file in (component.pid_file, component.log):
        file.parent.mkdir(parents=True, exist_ok=True)
    component.pid_file.unlink(missing_ok=True)  # One that somebody else killed has left its own.
    become = ["sh", "-c", 'echo $$ >"$0.new" && mv "$0.new" "$0" && exec "$@"', str(component.pid_file)]
    environment = {**os.environ, **component.environment, MARK: str(component.place.folder)}
    with component.log.open("ab") as log:
        subprocess.Popen(
            become + (prefix or []) + component.arguments,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=environment, start_new_session=True,
        )
    wait_until(f"{component.title} did not start", lambda: None if component.pid_file.exists() else "no pid file", 10)


def wait_ready(component: Component, seconds: float = 60) -> None:
    def obstacle() -> str | None:
        if wrapper_pid(component) is None:
            raise Failure(f"{component.title} ended", component.log)
        return component.obstacle()

    wait_until(f"{component.title} was not ready", obstacle, seconds, component.log)


def stop(component: Component, how: signal.Signals = signal.SIGTERM, seconds: float = 10) -> None:
    """Asks it to end, and ends it when it does not. It leaves no pid file."""
    stopped = [pid for pid in (pid_of(component), wrapper_pid(component)) if pid is not None]
    end(stopped[:1], how, seconds)
    end(stopped[1:], signal.SIGKILL, seconds)
    component.pid_file.unlink(missing_ok=True)


def end(pids: list[int], how: signal.Signals = signal.SIGTERM, seconds: float = 10) -> None:
    for pid in pids:
        send(pid, how)
    deadline = time.monotonic() + seconds
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            if how is signal.SIGKILL:
                raise Failure(f"processes {pids} do not end")
            return end([pid for pid in pids if is_alive(pid)], signal.SIGKILL, seconds)
        time.sleep(0.02)


def send(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass


def pid_of(component: Component) -> int | None:
    """The program itself: on the host what was started, in a node the child of what entered the node."""
    wrapper = wrapper_pid(component)
    if wrapper is None or component.node is None:
        return wrapper
    return child_of(wrapper)


def wrapper_pid(component: Component) -> int | None:
    return running_pid(component.place, component.pid_file)


def running_pid(place: Place, file: Path) -> int | None:
    try:
        pid = int(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if is_ours(place, pid) else None


def child_of(pid: int) -> int | None:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None


def is_ours(place: Place, pid: int) -> bool:
    """Whether it runs and carries the lab's mark. A zombie has no environment any more, so it counts as gone.

    While a process becomes another program the kernel shows no environment either, so one that shows none is looked at
    again.
    """
    deadline = time.monotonic() + BECOMING_SECONDS
    try:
        while not (environment := Path(f"/proc/{pid}/environ").read_bytes()):
            if time.monotonic() > deadline or not is_program(pid):
                return False
            time.sleep(0.001)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return f"{MARK}={place.folder}".encode() in environment.split(b"\0")


def is_alive(pid: int) -> bool:
    return stat(pid) is not None


def is_program(pid: int) -> bool:
    """Whether it is alive and no thread of the kernel's, which never has an environment."""
    fields = stat(pid)
    return fields is not None and not int(fields[6]) & KERNEL_THREAD


def stat(pid: int) -> list[str] | None:
    """What the kernel tells of it while it is alive, from its state on; nothing when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields


def every_marked(place: Place) -> list[int]:
    """Every process on the machine that carries the lab's mark, but this one."""
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return [pid for pid in pids if pid != os.getpid() and is_ours(place, pid)]


def memory_bytes(pid: int) -> int:
    """Resident memory."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")

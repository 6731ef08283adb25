"""How the lab talks, waits and fails: standard error is talk, every wait has a deadline, every failure names its log."""

import sys
import time
from pathlib import Path
from typing import Callable

LAST_LINES = 15
LONGEST_LINE = 400


class Failure(Exception):
    """Something that the reader can act on. `log` is where more of it stands."""

    def __init__(self, message: str, log: Path | None = None, hint: str | None = None):
        super().__init__(message)
        self.log = log
        self.hint = hint

    def tell(self) -> None:
        talk(f"error: {self}")
        if self.log is not None:
            for line in last_lines(self.log):
                talk(f"  | {line[:LONGEST_LINE]}")
            talk(f"  log: {self.log}")
        if self.hint:
            talk(f"hint: {self.hint}")


def talk(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def last_lines(log: Path) -> list[str]:
    try:
        return log.read_text(errors="replace").splitlines()[-LAST_LINES:]
    except FileNotFoundError:
        return ["(nothing was written)"]


def wait_until(what: str, obstacle: Callable[[], str | None], seconds: float, log: Path | None = None) -> None:
    """Asks `obstacle` until it has nothing to say any more. What it said last is in the failure."""
    deadline = time.monotonic() + seconds
    while (said := obstacle()) is not None:
        if time.monotonic() > deadline:
            raise Failure(f"{what} within {seconds:.0f} s: {said}", log)
        time.sleep(0.1)

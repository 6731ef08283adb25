"""A process of the lab is known all the while that it becomes another program: one that does nothing else is looked at for two
seconds. Run from the project's root; ends with 1 when it was taken for gone."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[2]))

from lab.kubernetes import process  # noqa: E402

with tempfile.TemporaryDirectory() as folder:
    script = Path(folder) / "again.sh"
    script.write_text('exec sh "$0"\n')
    running = subprocess.Popen(["sh", str(script)], env={**os.environ, process.MARK: folder})
    try:
        place, looks, missed, end = SimpleNamespace(folder=folder), 0, 0, time.monotonic() + 2
        while time.monotonic() < end:
            looks += 1
            missed += not process.is_ours(place, running.pid)
    finally:
        running.kill()
        running.wait()
print(f"{looks} looks, {missed} missed it")
sys.exit(missed > 0)

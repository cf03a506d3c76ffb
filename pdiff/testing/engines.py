"""What an engine must do."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from pdiff.components import Engine, Job

HANG_S = 300.0
"""A guard: a command that does nothing and takes so long hangs."""


def check_engine(component: Engine) -> None:
    """It runs commands side by side, with their variables, says how they end, and stops one that does not."""
    name, wait = component.name, "import time; time.sleep(3600)"
    with tempfile.TemporaryDirectory() as folder:
        launcher, seen = component.open(Path(folder)), Path(folder) / "seen"
        assert component.places() >= 1, f"{name}: places() is below 1"
        try:
            write = f"import os; open({str(seen)!r}, 'w').write(os.environ['PDIFF_CHECK'])"
            good = launcher.start([sys.executable, "-c", write], 0, {"PDIFF_CHECK": "here"})
            bad = launcher.start([sys.executable, "-c", "raise SystemExit(3)"], 1, {})
            assert _end(good) == "", f"{name}: a command that does its work is said to have failed: {good.ended()}"
            assert seen.read_text() == "here", f"{name}: a command does not find its variables"
            why = _end(bad)
            assert why and "\n" not in why, f"{name}: of a command that fails ended() says {why!r}, not why in a line"
            long = launcher.start([sys.executable, "-c", wait], 2, {})
            assert long.ended() is None, f"{name}: a command that runs is said to have ended"
            long.stop()
            assert _end(long) is not None, f"{name}: stop() does not end a command"
        finally:
            launcher.close()


def _end(job: Job) -> str | None:
    start = time.monotonic()
    while (why := job.ended()) is None and time.monotonic() - start < HANG_S:
        time.sleep(0.05)
    return why

"""A whole run holds neither its checkpoints nor its samples: more of them take no more memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import HANG_S

NETWORK = 4 * (257 * 400 + 401 * 200 + 201 * 10)
RUN = """
import sys, threading, time
from torch import nn
import pdiff
from pdiff import mapped

from pdiff_plugins.maths import neighbours, normalise

mapped.LARGE = 2**17
mapped.windows.__kwdefaults__["width"] = mapped.COLUMNS = normalise.COLUMNS = neighbours.COLUMNS = 4096
normalise.NUMBERS = 2**16
peak, done = 0, threading.Event()


def held():
    lines = open("/proc/self/status").readlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, held())


def net():
    wide = nn.Linear(256, 400), nn.ReLU(), nn.Linear(400, 200), nn.ReLU()
    return nn.Sequential(nn.Flatten(), *wide, nn.Linear(200, 10))


count = int(sys.argv[1])
threading.Thread(target=watch, daemon=True).start()
run = pdiff.run({
    "dataset": {"name": "digits"}, "task": {"name": "classification"}, "architecture": {"name": "python"},
    "selector": {"name": "entire"}, "train": {"epochs": 1, "lr": 1e-3, "batch_size": 64},
    "collect": {"name": "trajectory", "count": count, "lr": 1e-3, "batch_size": 64},
    "zoo": [{"name": "holdout", "count": count // 4}],
    "method": {"name": "pdiff", "steps": 5, "timesteps": 10, "batch_size": 4},
    "sample": {"count": count, "baseline_count": count},
    "baseline": [{"name": name} for name in ("soup", "gaussian", "noise_zoo", "noise", "interpolation", "swag")],
    "evaluate": [{"name": "accuracy"}, {"name": "distance"}, {"name": "similarity"}, {"name": "audit", "aligned": 0}],
    "report": [{"name": "markdown"}], "run": {"out": sys.argv[2], "threads": 1, "batch_size": 64},
}, architecture=net)
done.set()
print("peak", peak * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell what a process holds")
def test_more_networks_take_no_more_memory(tmp_path: Path) -> None:
    peaks = {}
    for count in (8, 40):
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(count), str(tmp_path / str(count))], capture_output=True, text=True,
            timeout=HANG_S, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        peaks[count] = int(done.stdout.split("peak ")[1])
    assert peaks[40] - peaks[8] < 32 * NETWORK / 2  # 32 networks more, of which each stage would hold all

"""A run that is killed at any moment goes on, and ends in the bytes of one that was left alone."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = """
import sys
import pdiff.running.snapshot
init = pdiff.running.snapshot.Snapshot.__init__
def often(self, folder=None, name="snapshot", every_s=0.0):
    init(self, folder, name, 0.0)
pdiff.running.snapshot.Snapshot.__init__ = often
import pdiff
pdiff.run("tiny.toml", quiet=True)
"""


def start(folder: Path) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", RUN], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every result but the clock times in stage.json."""
    files = [file for file in sorted((folder / "runs" / "store").rglob("*")) if file.is_file()]
    names = [f for f in files if f.name != "stage.json" and f.suffix != ".lock" and not f.name.startswith("snapshot")]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in names}


def kill_when(process: subprocess.Popen, store: Path, stages: int, pause: float) -> bool:
    """Kill the process `pause` seconds after so many stages are done and a further one has begun."""
    while process.poll() is None:
        folders = [path for path in store.glob("*-*") if path.is_dir()]
        begun = [path for path in folders if path.suffix == ".part"]
        if begun and len(folders) - len(begun) >= stages:
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def test_killed_at_random_moments_it_ends_in_the_same_bytes(tiny: Path) -> None:
    alone, killed = tiny.parent / "alone", tiny.parent / "killed"
    for folder in (alone, killed):
        folder.mkdir()
        (folder / "tiny.toml").write_text(tiny.read_text())
    process = start(alone)
    assert process.communicate()[1] == "" and process.returncode == 0
    chance = random.Random()
    pauses = [chance.uniform(0.0, 0.4) for _ in range(3)]
    stages = [0, chance.randrange(1, 3), chance.randrange(3, 9)]
    kills = [
        kill_when(start(killed), killed / "runs" / "store", *moment) for moment in zip(stages, pauses, strict=True)
    ]
    process = start(killed)
    assert process.communicate()[1] == "" and process.returncode == 0
    assert sum(kills) >= 1
    assert digests(killed) == digests(alone), (stages, pauses)
    assert not list((killed / "runs" / "store").glob("*.part"))


@pytest.mark.slow  # test_store has the same for one stage
def test_two_runs_at_once_on_one_store_give_one_result(tiny: Path) -> None:
    processes = [start(tiny.parent) for _ in range(2)]
    for process in processes:
        assert process.communicate()[1] == "" and process.returncode == 0
    store = tiny.parent / "runs" / "store"
    assert not list(store.glob("*.part"))
    alone = tiny.parent / "alone"
    alone.mkdir()
    (alone / "tiny.toml").write_text(tiny.read_text())
    process = start(alone)
    assert process.communicate()[1] == "" and process.returncode == 0
    assert digests(tiny.parent) == digests(alone)

"""A run that is killed at any moment goes on, and ends in the bytes of one that was left alone."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import os, signal, sys
moment, steps = int(sys.argv[1]), 0
def hook(event, arguments):
    global steps
    if event in ("open", "os.mkdir", "os.rename", "os.remove") and "/runs/" in str(arguments[0]):
        steps += 1
        if steps == moment:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
import pdiff.running.snapshot
pdiff.running.snapshot.Snapshot.due = lambda self: self.folder is not None
import pdiff
pdiff.run(os.path.abspath("tiny.toml"), set={"run.out": os.path.abspath("runs")}, quiet=True)
print(steps)
"""
"""A run that saves a snapshot at every step and is killed before the file operation whose number it is given: what lies
on the disk changes at no other moment."""


def start(folder: Path, moment: int = 0) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(moment)], cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def whole(folder: Path) -> int:
    """Run to the end, and return the number of file operations."""
    process = start(folder)
    out, err = process.communicate()
    assert err == "" and process.returncode == 0
    return int(out)


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every result but the clock times in stage.json."""
    files = [file for file in sorted((folder / "runs" / "store").rglob("*")) if file.is_file()]
    names = [f for f in files if f.name != "stage.json" and f.suffix != ".lock" and not f.name.startswith("snapshot")]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in names}


def test_killed_at_random_moments_it_ends_in_the_same_bytes(tiny: Path) -> None:
    alone, killed = tiny.parent / "alone", tiny.parent / "killed"
    for folder in (alone, killed):
        folder.mkdir()
        (folder / "tiny.toml").write_text(tiny.read_text())
    operations = whole(alone)
    chance = random.Random()
    moments = [chance.randrange(1, operations // 4) for _ in range(3)]
    for moment in moments:
        process = start(killed, moment)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, moments
    whole(killed)
    assert digests(killed) == digests(alone), moments
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
    whole(alone)
    assert digests(tiny.parent) == digests(alone)

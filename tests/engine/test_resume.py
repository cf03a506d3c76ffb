"""A run that is killed at any moment goes on, and ends in the bytes of one that was left alone."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import HANG_S

RUNS = """
import json, os, signal, sys
import sklearn.datasets, torch
import pdiff, pdiff_plugins.populations.chooser
from pdiff.running.snapshot import Snapshot
Snapshot.due = lambda self: self.folder is not None
pdiff_plugins.populations.chooser.QUICK_S = float("inf")

def run(folder, moment=0):
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        count = 0
        def hook(event, arguments):
            nonlocal count
            if event in ("open", "os.mkdir", "os.rename", "os.remove") and "runs/" in str(arguments[0]):
                count += 1
                if count == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        pdiff.run("tiny.toml", quiet=True)
        os.write(into, str(count).encode())
        os._exit(0)
    os.close(into)
    said = os.read(out, 99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(said or 0)

status, operations = run("alone")
moments = [1 + int(share * operations / 4) for share in json.loads(sys.argv[1])]
print(json.dumps({"alone": status, "moments": moments, "killed": [run("killed", moment)[0] for moment in moments],
                  "last": run("killed")[0]}))
"""
"""Runs in forks of one process, which imports torch once. They save a snapshot at every step, and are killed before a
file operation whose number is drawn: what lies on the disk changes at no other moment. After each of three kills within
the first quarter of what is to be done there is enough left for the next one.
"""


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every result but the clock times in stage.json."""
    files = [file for file in sorted((folder / "runs" / "store").rglob("*")) if file.is_file()]
    names = [f for f in files if f.name != "stage.json" and f.suffix != ".lock" and not f.name.startswith("snapshot")]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in names}


def copies(tiny: Path, *names: str) -> list[Path]:
    """Return folders that hold the recipe."""
    folders = [tiny.parent / name for name in names]
    for folder in folders:
        folder.mkdir()
        (folder / "tiny.toml").write_text(tiny.read_text())
    return folders


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_it_ends_in_the_same_bytes(tiny: Path) -> None:
    alone, killed = copies(tiny, "alone", "killed")
    shares = [random.SystemRandom().random() for _ in range(3)]
    done = subprocess.run(
        [sys.executable, "-c", RUNS, json.dumps(shares)], cwd=tiny.parent, capture_output=True, text=True,
        timeout=HANG_S, env=os.environ | {"OMP_NUM_THREADS": "1"},  # one thread: Python warns of forks beside others
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", done.stderr
    said = json.loads(done.stdout)
    assert said["alone"] == said["last"] == 0 and said["killed"] == [-signal.SIGKILL] * 3, said
    assert digests(killed) == digests(alone), said["moments"]
    assert not list((killed / "runs" / "store").glob("*.part"))


def start(folder: Path) -> subprocess.Popen:
    code = "import pdiff; pdiff.run('tiny.toml', quiet=True)"
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow  # test_store has the same for one stage
def test_two_runs_at_once_on_one_store_give_one_result(tiny: Path) -> None:
    (alone,) = copies(tiny, "alone")
    processes = [start(tiny.parent), start(tiny.parent), start(alone)]
    for process in processes:
        assert process.communicate()[1] == "" and process.returncode == 0
    assert not list((tiny.parent / "runs" / "store").glob("*.part"))
    assert digests(tiny.parent) == digests(alone)

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

RUN = """
import sys
import pdiff.snapshot
init = pdiff.snapshot.Snapshot.__init__
def often(self, folder=None, name="snapshot", every_s=0.0):
    init(self, folder, name, 0.0)
pdiff.snapshot.Snapshot.__init__ = often
import pdiff
pdiff.run("tiny.toml", quiet=True)
"""


def start(folder: Path) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", RUN], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every result but the clock times in stage.json."""
    files = [file for file in sorted((folder / "runs" / "store").rglob("*")) if file.is_file()]
    names = [file for file in files if file.name != "stage.json" and file.suffix != ".lock"]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in names}


def test_killed_at_random_moments_it_ends_in_the_same_bytes(tiny: Path) -> None:
    alone, killed = tiny.parent / "alone", tiny.parent / "killed"
    for folder in (alone, killed):
        folder.mkdir()
        (folder / "tiny.toml").write_text(tiny.read_text())
    begin = time.monotonic()
    process = start(alone)
    assert process.communicate()[1] == "" and process.returncode == 0
    whole = time.monotonic() - begin
    chance = random.Random(0)
    kills = 0
    for _ in range(6):
        process = start(killed)
        try:
            # A fresh process spends its first seconds importing: kill after that.
            process.wait(timeout=whole * chance.uniform(0.4, 1.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    process = start(killed)
    assert process.communicate()[1] == "" and process.returncode == 0
    assert kills >= 1
    assert digests(killed) == digests(alone)
    assert not list((killed / "runs" / "store").glob("*.part"))


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

"""Leases: one holder at a time, and what ends one whose holder is dead, suspended, or never was."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pdiff.errors import UserError
from pdiff.running import locks
from pdiff.running.locks import Busy, Lost, held, locked
from pdiff.running.store import Stage, Store
from tests.helpers import ROOT

STAGE = Stage("fit", {"of": "a test"})
HOLD = """
import sys, time
from pathlib import Path
from pdiff.running import locks
locks.LEASE_S = {lease}
with locks.locked(Path(sys.argv[1])) as lease:
    print("held", flush=True)
    time.sleep(3600)
"""


def holder(path: Path, lease: float = 180.0) -> subprocess.Popen[str]:
    """Return another process, once it holds a lease."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(lease=lease), str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.mark.skipif(os.name == "nt", reason="of another process Windows tells nothing here")
def test_a_lease_of_a_living_process_holds_and_of_a_dead_one_ends_at_once(tmp_path: Path) -> None:
    with holder(tmp_path / "a.lease") as process:
        with held(tmp_path / "a.lease") as mine:
            assert not mine
        with pytest.raises(Busy):
            raise_when_busy(tmp_path / "a.lease")
        process.kill()
        process.wait()
        with held(tmp_path / "a.lease") as mine:
            assert mine
    assert not (tmp_path / "a.lease").exists()


def raise_when_busy(path: Path) -> None:
    def busy() -> None:
        raise Busy(path.name)

    with locked(path, busy):
        pass


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGSTOP to send")
def test_a_suspended_holder_loses_its_lease(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "LEASE_S", 0.6)
    with holder(tmp_path / "a.lease", lease=0.6) as process:
        process.send_signal(signal.SIGSTOP)
        with locked(tmp_path / "a.lease") as lease:
            lease.check()
        process.kill()


def test_who_lost_its_lease_neither_publishes_nor_removes_anything(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    def overtaken(folder: Path) -> None:
        (folder / "mine.txt").write_text("1")
        store.lock(STAGE).unlink()
        store.lock(STAGE).write_text("another's")
        (folder / "theirs.txt").write_text("2")

    with pytest.raises(Lost, match="another may have taken its work over"):
        store.compute(STAGE, overtaken)
    assert not store.has(STAGE)
    assert {path.name for path in (tmp_path / "store" / f"{STAGE.folder_name}.part").iterdir()} == {
        "mine.txt", "theirs.txt"
    }  # fmt: skip


def test_a_lease_that_names_nobody_ends_as_others_do(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "NAMELESS_S", 0.3)
    monkeypatch.setattr(locks, "LOOK_S", 0.1)
    (tmp_path / "a.lease").touch()
    with held(tmp_path / "a.lease") as mine:
        assert not mine
    with locked(tmp_path / "a.lease"):
        pass


def test_locks_of_an_earlier_version_hold_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "store" / "locks").mkdir(parents=True)
    for name in ("uses.lock", f"{STAGE.folder_name}.lock"):
        (tmp_path / "store" / "locks" / name).touch()
    Store(tmp_path / "store", "a-run").compute(STAGE, lambda folder: None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_has_leases_of_its_own(tmp_path: Path) -> None:
    with locked(tmp_path / "a.lease"):
        pass
    process = multiprocessing.get_context("fork").Process(target=raise_when_busy, args=(tmp_path / "a.lease",))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_a_stage_that_another_was_first_with_is_taken_as_it_is(tmp_path: Path) -> None:
    """As where a network disk did not show it."""
    store = Store(tmp_path / "store")

    def late(folder: Path) -> None:
        (folder / "value.txt").write_text("1")
        twin = Store(tmp_path / "twin")
        os.replace(twin.compute(STAGE, lambda part: (part / "value.txt").write_text("1") and None), store.folder(STAGE))

    assert (store.compute(STAGE, late) / "value.txt").read_text() == "1"
    assert not list((tmp_path / "store").glob("*.part"))


def test_a_folder_that_cannot_be_locked_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file")
    with pytest.raises(UserError, match="cannot be made"), locked(tmp_path / "locks" / "a.lease"):
        pass

"""Locks between processes: of a stage that is computed, and of a run's own folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pdiff.errors import UserError
from pdiff.files import make_folder

USES = "stages.json"
"""File of a run's folder: the names of the stages that it uses."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold a lock unless another process does, and tell which. Raises UserError where there can be no lock."""
    lock = FileLock(path)
    acquired = _acquired(lock, timeout=0)
    try:
        yield acquired
    finally:
        with contextlib.suppress(OSError):  # closed with the process, at the latest
            lock.release()


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock; `waiting` is called where another process holds it. Raises UserError where there can be no lock."""
    make_folder(path.parent)
    lock = FileLock(path)
    if not _acquired(lock, timeout=0):
        waiting()
        _acquired(lock, timeout=-1)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.release()


def _acquired(lock: FileLock, timeout: float) -> bool:
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:  # the second is filelock's word for a disk that has no locks
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{lock.lock_file}: cannot be locked ({why}); choose a folder of results that can be") from None
    return True


@contextlib.contextmanager
def run_locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, without what a process that was killed left there half written."""
    with locked(folder / ".lock"):
        for stray in folder.rglob("*.[0-9]*.tmp"):
            if not stray.name.startswith(USES):  # written under another lock
                stray.unlink(missing_ok=True)
        yield

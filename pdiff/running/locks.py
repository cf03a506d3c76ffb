"""Locks between processes and machines: of a stage that is computed, and of a run's own folder.

A lock is a lease: a file that names its holder, who touches it every `LEASE_S / 3` seconds. It needs no locks of the
file system, which NFS and Lustre may not have, or only within one machine. A dead holder's lease ends at once where who
wants it is on the same machine, and elsewhere when it has not been touched for `LEASE_S`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import SoftFileLease, Timeout

from pdiff.errors import UserError
from pdiff.files import make_folder

USES = "stages.json"
"""File of a run's folder: the names of the stages that it uses."""
LEASE_S = 180.0
"""More than the minute for which an NFS client may believe what it knows of a file."""


class Busy(Exception):
    """Another process computes a stage, and nobody wants to wait for it."""


class Lost(UserError):
    """A lease that ended while its holder, suspended or cut off from the disk, still worked under it."""


class Lease:
    """A lock that is held."""

    def __init__(self, lock: SoftFileLease):
        self._lock = lock

    def check(self) -> None:
        """Raise Lost where the lock is another's by now."""
        if self._lock.compromise is not None:
            raise Lost(
                f"{self._lock.lock_file}: this process did not answer for {LEASE_S:.0f} seconds, and another may have "
                "taken its work over; run again"
            )


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold a lock unless another process does, and tell which. Raises UserError where there can be no lock."""
    lock = _lock(path.absolute())
    acquired = not lock.is_locked and _acquired(lock, timeout=0)
    try:
        yield acquired
    finally:
        if acquired:
            _release(lock)


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[Lease]:
    """Hold a lock; `waiting` is called where another process holds it. Raises UserError where there can be no lock."""
    make_folder(path.parent)
    lock = _lock(path.absolute())
    if not _acquired(lock, timeout=0):
        waiting()
        _acquired(lock, timeout=-1)
    try:
        yield Lease(lock)
    finally:
        _release(lock)


@functools.lru_cache(10_000)
def _lock(path: Path) -> SoftFileLease:
    """Return the one lease of a file: how long another's has not been touched, it knows by having looked before."""
    return SoftFileLease(path, lease_duration=LEASE_S)


def _release(lock: SoftFileLease) -> None:
    with contextlib.suppress(OSError):  # ended with the process, at the latest
        lock.release()


def _acquired(lock: SoftFileLease, timeout: float) -> bool:
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
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

"""Locks between processes and machines: of a stage that is computed, and of a run's own folder.

A lock is a lease: a file that names its holder, who touches it every `LEASE_S / 3` seconds. It needs no locks of the
file system, which NFS and Lustre may not have, or only within one machine. A dead holder's lease ends at once where who
wants it is on the same machine, and elsewhere when it has not been touched for `LEASE_S`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

from pdiff.errors import UserError
from pdiff.files import make_folder

USES = "stages.json"
"""File of a run's folder: the names of the stages that it uses."""
LEASE = ".lease"
"""Ends the name of a lock's file."""
LEASE_S = 180.0
"""More than the minute for which an NFS client may believe what it knows of a file."""
NAMELESS_S = 5.0
"""A lease names its holder right after it is made; one that does not for so long is of a process that died between."""
LOOK_S = 1.0
"""Between two looks at whether a lease that is waited for names anybody."""


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
        owner = self._lock.owner
        if self._lock.compromise is not None or owner is None or owner.token != self._lock.token:
            raise Lost(
                f"{self._lock.lock_file}: this process did not answer for {LEASE_S:.0f} seconds, and another may have "
                "taken its work over; run again"
            )


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold a lock unless another process does, and tell which. Raises UserError where there can be no lock."""
    lock = _lock(path)
    acquired = not lock.is_locked and _acquired(lock, wait=False)
    try:
        yield acquired
    finally:
        if acquired:
            _release(lock)


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[Lease]:
    """Hold a lock; `waiting` is called where another process holds it. Raises UserError where there can be no lock."""
    make_folder(path.parent)
    lock = _lock(path)
    if not _acquired(lock, wait=False):
        waiting()
        _acquired(lock, wait=True)
    try:
        yield Lease(lock)
    finally:
        _release(lock)


def _lock(path: Path) -> SoftFileLease:
    """Return this process's one lease of a file, which knows by earlier looks how long another's was not touched."""
    return _lock_of(path.absolute(), os.getpid())


@functools.lru_cache(10_000)
def _lock_of(path: Path, process: int) -> SoftFileLease:
    return SoftFileLease(path, lease_duration=LEASE_S)


def _release(lock: SoftFileLease) -> None:
    for _ in range(3):  # a disk may refuse once; it ends with the process, at the latest
        with contextlib.suppress(OSError):
            return lock.release()


def _acquired(lock: SoftFileLease, wait: bool) -> bool:
    while True:
        try:
            lock.acquire(timeout=LOOK_S if wait else 0, poll_interval=0.1)
        except Timeout:
            _drop_nameless(Path(lock.lock_file))
            if not wait:
                return False
        except (OSError, LeaseSettingsMismatch) as error:
            why = getattr(error, "strerror", None) or error
            mend = "choose a folder of results that can be"
            raise UserError(f"{lock.lock_file}: cannot be locked ({why}); {mend}") from None
        else:
            return True


def _drop_nameless(path: Path) -> None:
    """Remove a lease that has named nobody for some seconds: its maker is dead."""
    with contextlib.suppress(OSError):
        about = path.stat()
        if about.st_size:
            _nameless.pop(path, None)
            return
        since, changed = _nameless.setdefault(path, (time.monotonic(), about.st_mtime_ns))
        if changed != about.st_mtime_ns:
            _nameless[path] = time.monotonic(), about.st_mtime_ns
        elif time.monotonic() - since > NAMELESS_S:
            path.unlink()
            _nameless.pop(path, None)


_nameless: dict[Path, tuple[float, int]] = {}
"""Leases that name nobody: when they were seen first, and when they were made."""


@contextlib.contextmanager
def run_locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, without what a process that was killed left there half written."""
    with locked(folder / ".lease"):
        for stray in folder.rglob("*.[0-9]*.tmp"):
            if not stray.name.startswith(USES):  # written under another lock
                stray.unlink(missing_ok=True)
        yield

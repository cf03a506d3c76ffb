"""Store: one folder per stage result, named by the hash of what it was made from."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdiff.errors import UserError, naming
from pdiff.files import make_folder, read_json, sha256_of, sync, write_json
from pdiff.results.runs import SCORES
from pdiff.running.locks import LEASE, USES, Busy, Lease, locked
from pdiff.running.progress import Progress
from pdiff.running.remote import Remote, local, remote_at

ABOUT = "stage.json"
DAMAGED = ".damaged"
"""Ends the name of a folder whose stage was computed again because its files are not as they were written."""


@dataclass(frozen=True)
class Stage:
    """A stage's name and everything its result depends on."""

    name: str
    config: Mapping[str, Any]

    @property
    def key(self) -> str:
        """16 hexadecimal digits."""
        text = json.dumps({"stage": self.name, "config": self.config}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def folder_name(self) -> str:
        return f"{self.name}-{self.key}"


class Store:
    """The folder `<out>/store`."""

    def __init__(self, root: Path, run: str = "", remote: Remote | None = None):
        """`run`: name of the run that uses it, whose folder beside the store lists the stages that it asks for.

        `remote`: the address that mirrors it, where stages are looked for that are not here.
        """
        self.root, self.run = root, root.parent / run if run else None
        self.remote = remote or Remote()
        self._noted: set[str] = set()

    @classmethod
    def at(cls, out: str, run: str = "", progress: Progress | None = None) -> Store:
        """Return the store of a folder of results, or of an address and its local copy. Raises UserError."""
        return cls(local(out) / "store", run, remote_at(out, progress))

    def folder(self, stage: Stage) -> Path:
        return self.root / stage.folder_name

    def stage(self, folder_name: str) -> Stage:
        """Return the stage that a folder of this store holds. Raises UserError when it is not there."""
        path = self.root / folder_name / ABOUT
        there = None if path.is_file() else self.remote.listing(listing(folder_name))
        try:
            about = there or read_json(path)
            return Stage(about["stage"], about["config"])
        except (UserError, KeyError, TypeError) as error:
            why = str(error) if isinstance(error, UserError) else f"{path}: damaged"
            raise UserError(f"{why}; run the recipe again, which computes what is missing") from None

    def has(self, stage: Stage) -> bool:
        """True when the stage's result is there, each file in its size, or at the address; `compute` also reads it."""
        return self.here(stage) or self.remote.has(listing(stage.folder_name))

    def here(self, stage: Stage) -> bool:
        """True when the stage's result is in this folder, each file in its size."""
        return not fault(self.folder(stage), stage, content=False)

    def compute(
        self, stage: Stage, work: Callable[[Path], None], say: Callable[[str], None] = print, wait: bool = True
    ) -> Path:
        """Return the stage's folder, calling `work(part_folder)` first when it is not there whole, nor at the address.

        A second process that wants the same stage waits for the first, or with `wait` off raises Busy. Files named
        `snapshot*` that `work` leaves in the part folder when it is killed are there again the next time, so that it
        can go on; they are dropped at the end. A result that is damaged is set aside, in one line, and computed again.
        """
        folder = self.folder(stage)
        self.note(folder.name)
        if not fault(folder, stage):
            return folder

        def waiting() -> None:
            if not wait:
                raise Busy(folder.name)
            say(f"{stage.name}: another run computes {folder.name}; waiting for it")

        with locked(self.lock(stage), waiting) as lease, naming(folder):
            make_folder(part := self.root / f"{folder.name}.part")  # and have the file system look anew
            wrong = fault(folder, stage)
            if not wrong:
                with contextlib.suppress(OSError):
                    part.rmdir()
            if wrong and folder.exists():
                aside = folder.with_name(folder.name + DAMAGED)
                shutil.rmtree(aside, ignore_errors=True)
                os.replace(folder, aside)
                say(f"warning: {folder}: damaged ({wrong}); it is kept as {aside.name}, and computed again")
            if wrong:
                self.remote.fetch(listing(folder.name), part)
                self._compute(stage, work, lease)
        if wrong:
            self.remote.share(listing(folder.name), folder, say)
        return folder

    def lock(self, stage: Stage) -> Path:
        """Return where the lock of a stage lies."""
        return self.root / "locks" / f"{stage.folder_name}{LEASE}"

    def _compute(self, stage: Stage, work: Callable[[Path], None], lease: Lease) -> None:
        partial = self.root / f"{stage.folder_name}.part"
        make_folder(partial)
        if fault(partial, stage):  # else it was killed when all but its name was done
            _clear(partial, _is_snapshot)
            start = time.monotonic()
            with naming(partial):
                work(partial)
            lease.check()
            results = {path.relative_to(partial).as_posix(): path for path in sorted(partial.rglob("*"))}
            results = {name: path for name, path in results.items() if path.is_file() and not _passing(name)}
            write_json(partial / ABOUT, {
                "stage": stage.name, "config": stage.config, "seconds": time.monotonic() - start,
                "files": {name: path.stat().st_size for name, path in results.items()},
                "sha256": {name: sha256_of(path) for name, path in results.items()},
            })  # fmt: skip
        listed = {ABOUT, *read_json(partial / ABOUT)["files"]}
        _clear(partial, listed.__contains__)
        for folder in (partial, *(path for path in partial.rglob("*") if path.is_dir())):
            sync(folder)
        lease.check()
        try:
            os.replace(partial, self.folder(stage))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or fault(self.folder(stage), stage):
                raise
            shutil.rmtree(partial, ignore_errors=True)  # another process was first, which a slow disk did not show
        sync(self.root)

    def seconds(self, stage: Stage) -> float:
        """Return how long the stage took when it was computed (the last stretch, where it was resumed)."""
        path = self.folder(stage) / ABOUT
        seconds = read_json(path).get("seconds") if not fault(path.parent, stage, content=False) else None
        if not isinstance(seconds, int | float):
            raise UserError(f"{path}: damaged; run the recipe again, which computes what is missing")
        return seconds

    def note(self, *names: str) -> None:
        """List stages as those that the run uses, before they are looked for: so nobody clears them away meanwhile."""
        if self.run is None or self._noted.issuperset(names):
            return
        with contextlib.suppress(UserError):
            self._noted |= set(read_json(self.run / USES))
            if self._noted.issuperset(names):
                return
        with contextlib.suppress(UserError), locked(self.root / "locks" / f"uses{LEASE}"):  # a store may be read-only
            make_folder(self.run)
            for stray in self.run.glob(f"{USES}.*.tmp"):
                stray.unlink(missing_ok=True)
            # Without a list, a finished run is an earlier version's: what is not listed of it would be lost.
            if (self.run / USES).exists() or not (self.run / SCORES).exists():
                listed = read_json(self.run / USES) if (self.run / USES).exists() else []
                if not set(names).issubset(listed):
                    write_json(self.run / USES, sorted({*listed, *names}))
            self._noted |= set(names)


def listing(folder_name: str) -> str:
    """Return where a stage's listing lies below an address."""
    return f"store/{folder_name}/{ABOUT}"


def fault(folder: Path, stage: Stage, *, content: bool = True) -> str:
    """Return what is wrong with a stored stage, nothing where it is whole; `content`: also by its files' digests."""
    if not folder.is_dir():
        return "not there"
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        written = about.get("sha256", {}) if content else {}
        for name, size in about["files"].items():
            if (folder / name).stat().st_size != size:
                return f"{name} has another size than {ABOUT} says"
            if name in written and sha256_of(folder / name) != written[name]:
                return f"{name} holds other bytes than were written"
        if not isinstance(about["seconds"], int | float):
            return f"{ABOUT} cannot be read"
        same = about["config"] == json.loads(json.dumps(stage.config))
        return "" if same else f"{ABOUT} is of another stage than the folder's name says"
    except (FileNotFoundError, NotADirectoryError) as error:
        return f"{Path(error.filename).name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{ABOUT} cannot be read"


def _passing(name: str) -> bool:
    """True of a file that is no part of the result."""
    return _is_snapshot(name) or name.endswith(".tmp")


def _is_snapshot(name: str) -> bool:
    return name.startswith("snapshot") and not name.endswith(".tmp")


def _clear(folder: Path, kept: Callable[[str], bool]) -> None:
    """Remove all files below a folder but those whose path in it is kept, and folders that are empty then."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif not kept(path.relative_to(folder).as_posix()):
            path.unlink(missing_ok=True)

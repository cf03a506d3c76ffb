"""Store: one folder per stage result, named by the hash of what it was made from."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pdiff.errors import UserError
from pdiff.files import make_folder, read_json, write_json


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

    def __init__(self, root: Path):
        self.root = root

    def folder(self, stage: Stage) -> Path:
        return self.root / stage.folder_name

    def stage(self, folder_name: str) -> Stage:
        """Return the stage that a folder of this store holds. Raises UserError when it is not there."""
        about = read_json(self.root / folder_name / "stage.json")
        return Stage(about["stage"], about["config"])

    def has(self, stage: Stage) -> bool:
        """True when the stage's result is there and whole. Raises UserError when it is there and damaged."""
        folder = self.folder(stage)
        if not folder.is_dir():
            return False
        mend = f"delete the folder {folder} and run again; nothing else is lost"
        try:
            about = read_json(folder / "stage.json")
            sizes = {name: (folder / name).stat().st_size for name in about["files"]}
        except (UserError, OSError, KeyError, TypeError) as error:
            raise UserError(f"{folder}: the stored stage cannot be read ({error}); {mend}") from None
        if sizes != about["files"]:
            raise UserError(f"{folder}: the stored stage is damaged (file sizes differ from stage.json); {mend}")
        if about["config"] != json.loads(json.dumps(stage.config)):
            raise UserError(f"{folder}: holds another stage than its name says; {mend}")
        return True

    def compute(self, stage: Stage, work: Callable[[Path], None], waiting: Callable[[str], None] = print) -> Path:
        """Return the stage's folder, calling `work(part_folder)` first when it is not there yet.

        A second process that wants the same stage waits for the first. What `work` leaves in the part folder when it
        is killed is there again the next time, so that it can go on; files named `snapshot*` are dropped at the end.
        """
        if self.has(stage):
            return self.folder(stage)
        lock = self._lock(stage)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting(f"{stage.name}: another run computes {stage.folder_name}; waiting for it")
            lock.acquire()
        try:
            if not self.has(stage):
                self._compute(stage, work)
        finally:
            lock.release()
        return self.folder(stage)

    def _compute(self, stage: Stage, work: Callable[[Path], None]) -> None:
        partial = self.root / f"{stage.folder_name}.part"
        make_folder(partial)
        for stale in partial.glob("*.tmp"):
            stale.unlink()
        start = time.monotonic()
        work(partial)
        snapshots = sorted(partial.glob("snapshot*"))
        results = sorted(file for file in partial.rglob("*") if file.is_file() and file not in snapshots)
        files = {str(file.relative_to(partial)): file.stat().st_size for file in results if file.name != "stage.json"}
        about = {"stage": stage.name, "config": stage.config, "files": files, "seconds": time.monotonic() - start}
        write_json(partial / "stage.json", about)
        os.replace(partial, self.folder(stage))
        # Only now: killed before, the stage goes on from its snapshot.
        for snapshot in snapshots:
            (self.folder(stage) / snapshot.name).unlink()

    def seconds(self, stage: Stage) -> float:
        """Return how long the stage took when it was computed (the last stretch, where it was resumed)."""
        return float(read_json(self.folder(stage) / "stage.json")["seconds"])

    def _lock(self, stage: Stage) -> FileLock:
        make_folder(self.root / "locks")
        return FileLock(self.root / "locks" / f"{stage.folder_name}.lock")

"""Stock: the runs of a folder of results, the stages in its store, and who uses them. Imports no torch."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdiff.errors import UserError
from pdiff.files import read_json
from pdiff.results.runs import SCORES
from pdiff.running.locks import LEASE, USES, held, locked
from pdiff.running.store import ABOUT, DAMAGED

PART = ".part"
OLD = ".lock"
"""Ends the names of locks that an earlier version left."""
STAGE = re.compile(rf"[a-z]+-[0-9a-f]{{16}}({re.escape(PART)}|{re.escape(DAMAGED)})?")
"""Names of what a store holds; what has another name is not pdiff's, and stays."""


@dataclass(frozen=True)
class Known:
    """A run: its folder, the names of the stages that it uses, and whether it has finished."""

    folder: Path
    stages: frozenset[str]
    finished: bool

    @property
    def changed(self) -> float:
        """When its scores, or else its list of stages, were written: seconds since 1970."""
        return (self.folder / (SCORES if self.finished else USES)).stat().st_mtime

    def about(self, stock: Stock) -> dict[str, Any]:
        """Return what `pdiff runs --json` tells; sizes are of the run's folder and its stages, whole or in part."""
        others = {stage for run in stock.runs if run != self for stage in run.stages}
        own = bytes_of(self.folder)
        return {
            "run": self.folder.name, "finished": self.finished, "changed": self.changed,
            "bytes": own + stock.bytes_in(self.stages), "alone_bytes": own + stock.bytes_in(self.stages - others),
            "stages": sorted(self.stages),
        }  # fmt: skip


@dataclass(frozen=True)
class Leftover:
    """Something in the store that no run uses."""

    path: Path
    why: str
    bytes: int
    lock: bool = False


class Stock:
    """What a folder of results holds."""

    def __init__(self, out: Path):
        self.out, self.store = out, out / "store"

    @functools.cached_property
    def runs(self) -> list[Known]:
        """The runs, newest first. Raises UserError where what one uses cannot be told."""
        folders = sorted({path.parent for name in (USES, SCORES) for path in self.out.glob(f"*/{name}")})
        return sorted(map(self._known, folders), key=lambda run: run.changed, reverse=True)

    def _known(self, folder: Path) -> Known:
        finished = (folder / SCORES).is_file()
        if (folder / USES).is_file():
            return Known(folder, frozenset(_names(folder / USES, read_json(folder / USES))), finished)
        scores = read_json(folder / SCORES)
        names = _names(folder / SCORES, scores.get("stages") if isinstance(scores, dict) else None)
        return Known(folder, frozenset(self._made_from(names)), finished)

    def _made_from(self, names: list[str]) -> set[str]:
        """Return stages and all that is made from them: of a run of a version that listed only the first two."""
        used, more = set[str](), set(names)
        while more:
            used |= more
            keys = {name.rpartition("-")[2] for name in more}
            more = {name for name, text in self._configs.items() if name not in used and any(k in text for k in keys)}
        return used

    @functools.cached_property
    def _configs(self) -> dict[str, str]:
        """What each stored stage was made from, as text that holds its inputs' keys."""
        texts = {}
        for path in self.store.glob(f"*/{ABOUT}"):
            try:
                texts[path.parent.name] = json.dumps(read_json(path)["config"])
            except (UserError, KeyError, TypeError):
                continue
        return texts

    @functools.cached_property
    def used(self) -> frozenset[str]:
        """The stages that runs use."""
        return frozenset().union(*(run.stages for run in self.runs))

    def bytes_in(self, stages: frozenset[str]) -> int:
        """Return the bytes of stages, whole or in part."""
        return sum(bytes_of(self.store / f"{stage}{end}") for stage in stages for end in ("", PART))

    @property
    def bytes(self) -> int:
        """All that the store holds."""
        return bytes_of(self.store)

    @property
    def unused_bytes(self) -> int:
        """What no run uses of it."""
        return sum(leftover.bytes for leftover in self._leftovers())

    def _leftovers(self) -> Iterator[Leftover]:
        """Yield what no run uses; locks last, since each of the others is removed under its own."""
        for folder in sorted(path for path in self.store.glob("*-*") if STAGE.fullmatch(path.name) and path.is_dir()):
            if folder.name.endswith(DAMAGED):
                yield Leftover(folder, "damaged, computed again", bytes_of(folder))
            elif folder.name.removesuffix(PART) not in self.used:
                why = "part of a stage that no run uses" if folder.name.endswith(PART) else "no run uses it"
                yield Leftover(folder, why, bytes_of(folder))
        for lock in sorted(path for path in (self.store / "locks").glob("*-*.l*") if STAGE.fullmatch(path.stem)):
            yield Leftover(lock, "lock of no living process", bytes_of(lock), lock=True)

    def clean(self, dry_run: bool = False) -> Iterator[Leftover]:
        """Remove what no run uses, and yield it; what a living process has locked stays.

        Raises UserError where the store is a link: runs beside other links to it may use what it holds.
        """
        if self.store.is_symlink():
            raise UserError(f"{self.store}: is a link, and runs elsewhere may use what it holds; nothing is removed")
        if not self.store.is_dir():
            return
        # So no run begins to use what is about to go.
        with nullcontext() if dry_run else locked(self.store / "locks" / f"uses{LEASE}"):
            for leftover in self._leftovers():
                path = leftover.path
                name = path.name.removesuffix(LEASE).removesuffix(OLD).removesuffix(DAMAGED).removesuffix(PART)
                lock = self.store / "locks" / f"{name}{LEASE}"
                with ExitStack() as stack:
                    if lock.exists() and not stack.enter_context(held(lock)):
                        continue
                    if not dry_run:
                        _remove(path)
                    yield leftover


def _remove(path: Path) -> None:
    """Remove a file, or a folder under a name that no run takes for a result once half of it is gone."""
    if path.is_symlink() or not path.is_dir():
        return path.unlink(missing_ok=True)
    aside = path if path.name.endswith(DAMAGED) else path.with_name(path.name + DAMAGED)
    if aside != path:
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(path, aside)
    shutil.rmtree(aside)


def _names(path: Path, value: Any) -> list[str]:
    """Return names of stages. Raises UserError where they are none."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise UserError(f"{path}: does not say which stages the run uses; run its recipe again, or delete its folder")
    return value


def bytes_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; 0 where there is neither."""
    if not path.is_dir():
        return path.lstat().st_size if path.exists() else 0
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())

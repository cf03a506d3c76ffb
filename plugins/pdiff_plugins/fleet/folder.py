"""Folder: what the workers of a sweep share beside the store, all of it JSON and safetensors.

sweep.json           its cells
cells/N.json         what became of a cell; cells/N.safetensors its scores by example
failed/STAGE.json    why a stage failed, for all cells that need it
deaths/STAGE.json    how many workers were killed while they computed it
workers/N.json, .log what a worker does now, and what it said
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pdiff.errors import UserError
from pdiff.files import make_folder, read_json, write_json
from pdiff.results.runs import SCORES
from pdiff_plugins.fleet.grid import Cell

DEATHS = 2
"""Workers that a stage may kill before it counts as failed."""


@dataclass(frozen=True)
class Outcome:
    """What became of a cell."""

    run: str = ""
    """Its run's folder."""
    failure: str = ""
    """Why it has none."""


class Sweep:
    """A sweep's folder."""

    def __init__(self, path: Path):
        self.path = path
        about = read_json(path / "sweep.json")
        self.cells = [Cell(**cell) for cell in about["cells"]]
        self.plugins: list[str] = about["plugins"]
        self.cwd: str = about["cwd"]
        self.runs: dict[int, str] = {int(number): name for number, name in about["runs"].items()}
        """Cell -> its run's name, which holds a key of the recipe: another one is of a recipe that was changed."""

    @classmethod
    def make(
        cls, out: Path, cells: Sequence[Cell], plugins: Sequence[str] = (), name: str = "",
        runs: Mapping[int, str] = MappingProxyType({}),
    ) -> Sweep:  # fmt: skip
        """Return the folder of these cells: the same cells have the same one, and what is known of them stays.

        `runs`: the names of their runs, by number.
        """
        listed, cwd = [asdict(cell) for cell in cells], str(Path.cwd())
        key = hashlib.sha256(json.dumps([listed, list(plugins), cwd], sort_keys=True).encode()).hexdigest()[:8]
        stem = name or "-".join(dict.fromkeys(Path(cell.recipe).stem for cell in cells))
        stem = re.sub(r"[^\w.-]+", "-", stem)[:60].strip(".") or "sweep"
        path = (out / "sweeps" / f"{stem}-{key}").absolute()
        make_folder(path / "cells")
        write_json(path / "sweep.json", {"cells": listed, "plugins": list(plugins), "cwd": cwd, "runs": dict(runs)})
        return cls(path)

    def again(self) -> None:
        """Forget what failed and who worked: it is tried again."""
        for folder in ("failed", "deaths", "workers"):
            shutil.rmtree(self.path / folder, ignore_errors=True)
        for folder in ("cells", "failed", "deaths", "workers"):
            make_folder(self.path / folder)
        for number in self.done():
            if not self.good(number):
                self._cell(number).unlink(missing_ok=True)

    def good(self, number: int) -> bool:
        """True where a cell has a result, of the recipe as it is now."""
        run = Path((self.outcome(number) or Outcome()).run)
        return run.name == self.runs.get(number) and (run / SCORES).is_file()

    def _cell(self, number: int, suffix: str = ".json") -> Path:
        return self.path / "cells" / f"{number}{suffix}"

    def outcome(self, number: int) -> Outcome | None:
        """Return what became of a cell, or None where that is open."""
        known = _read(self._cell(number))
        return Outcome(str(known.get("run", "")), str(known.get("failure", ""))) if known else None

    def done(self) -> set[int]:
        """Return the numbers of the cells that are done with, by one look at the folder."""
        names = os.listdir(self.path / "cells")
        return {int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdecimal()}

    def outcomes(self, known: Collection[int] = ()) -> dict[int, Outcome]:
        """Return what became of cells that are done with, by their numbers, but those that are known."""
        new = sorted(self.done() - set(known))
        return {number: outcome for number in new if (outcome := self.outcome(number))}

    def end(self, number: int, outcome: Outcome) -> None:
        """Say what became of a cell."""
        write_json(self._cell(number), asdict(outcome))

    def examples(self, number: int) -> Path:
        """Return where a cell's scores by example lie."""
        return self._cell(number, ".safetensors")

    def lock(self, number: int) -> Path:
        """Return where the lock of a cell's end lies."""
        return self._cell(number, ".lease")

    def fail(self, stage: str, reason: str) -> None:
        """Say that a stage fails, so that no other worker tries it."""
        write_json(self.path / "failed" / f"{stage}.json", {"reason": reason})

    def failures(self) -> dict[str, str]:
        """Return why stages failed, by their names."""
        return {name: known.get("reason", "") for name, known in _all(self.path / "failed")}

    def died(self, stage: str, step: tuple[str, int]) -> int:
        """Count a worker that ended at a step of a stage; return how many did in a row that came no further."""
        path = self.path / "deaths" / f"{stage}.json"
        before = _read(path)
        name, done = before.get("step", ["", 0])
        further = not before or name != step[0] or step[1] > done
        count = 1 if further else int(before.get("count", 0)) + 1
        write_json(path, {"count": count, "step": list(step)})
        return count

    def status(self, worker: int) -> dict[str, Any]:
        """Return what a worker does now."""
        return _read(self.path / "workers" / f"{worker}.json")

    def tell(self, worker: int, status: Mapping[str, Any]) -> None:
        """Say what a worker does now."""
        with contextlib.suppress(UserError):  # a disk that is full for a moment
            write_json(self.path / "workers" / f"{worker}.json", status)


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or another version's
        return {}
    return known if isinstance(known, dict) else {}


def _all(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.glob("*.json")):
        yield path.stem, _read(path)

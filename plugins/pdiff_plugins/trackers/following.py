"""What a tracker is told of a run, whichever library it has: curves, times, scores, tables, pictures and files."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from pdiff import hookimpl
from pdiff.errors import UserError
from pdiff.results.summary import notes, table

PICTURES = (".png", ".gif")


class Sink(Protocol):
    """Where a library puts what it is given."""

    def curve(self, curve: str, step: int, values: Mapping[str, float]) -> None:
        """Add a point to a curve, which has a step axis of its own."""

    def numbers(self, numbers: Mapping[str, float]) -> None:
        """Keep numbers that have no axis."""

    def table(self, name: str, head: list[str], rows: list[list[str]], notes: list[str]) -> None:
        """Keep a table, with what a reader of it must know."""

    def picture(self, name: str, path: Path) -> None:
        """Keep a picture."""

    def files(self, folder: Path, paths: list[Path]) -> None:
        """Keep files of a run's folder, or where they are."""

    def close(self, failure: str) -> None:
        """End; `failure` says why before the end, or nothing."""


class Following:
    """Hooks that tell a sink of one run, and of no other that this process computes meanwhile."""

    def __init__(self, sink: Sink, run: str, stages: Mapping[str, str]):
        self.sink, self.run, self.stages = sink, run, stages
        self.labels = {key: what for what, key in reversed(list(stages.items()))}
        self.computed: dict[str, float] = {}
        self.starts: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.broken = False

    @hookimpl
    def stage_started(self, stage: str, key: str, run: str) -> None:
        if run == self.run:
            self.labels.setdefault(key, stage)
            self.computed[key] = 0.0

    @hookimpl
    def stage_progress(self, key: str, what: str, step: int, values: dict[str, float]) -> None:
        if key in self.computed:
            label = self.labels[key]
            curve = label if what == label else f"{label}/{what}"
            if step < self.last.get(curve, 0):  # a loop of the same name, from its start: it goes on behind
                self.starts[curve] = self.starts.get(curve, 0) + self.last[curve]
            self.last[curve] = step
            self._tell("curve", curve, self.starts.get(curve, 0) + step, values)

    @hookimpl
    def stage_finished(self, key: str, seconds: float) -> None:
        if key in self.computed:
            self.computed[key] = seconds
            if key in self.stages.values():
                self._tell("numbers", {f"seconds/{self.labels[key]}": seconds})

    @hookimpl
    def run_finished(self, run: str, folder: Path, scores: dict[str, Any], files: list[Path], failure: str) -> None:
        if run != self.run:
            return
        try:
            if not failure:
                self._end(folder, scores, files)
        finally:
            self.sink.close(failure)

    def _end(self, folder: Path, scores: dict[str, Any], files: list[Path]) -> None:
        cached = {what: key not in self.computed for what, key in self.stages.items()}
        seconds = scores["seconds"]
        self._tell("numbers", {f"seconds/{what}": seconds[what] for what in seconds if cached[what]})
        self._tell("numbers", {f"cached/{what}": float(is_cached) for what, is_cached in cached.items()})
        self._tell("numbers", dict(numbers_of(scores)))
        self._tell("table", "summary", *table(scores), notes(scores))
        rows = [[what, f"{seconds[what]:.2f}", "from the store" if cached[what] else "computed"] for what in seconds]
        self._tell("table", "stages", ["stage", "seconds", ""], rows, ["seconds: when it was computed"])
        for path in files:
            if path.suffix in PICTURES:
                self._tell("picture", path.stem, path)
        kept = [folder / name for name in ("recipe.toml", "resolved.toml", "scores.json")]
        self._tell("files", folder, [*kept, *files])

    def _tell(self, what: str, *given: Any) -> None:
        """Tell the sink, unless it has failed before: what a server that is gone costs is paid once."""
        if not self.broken:
            self.broken = True
            getattr(self.sink, what)(*given)
            self.broken = False


def numbers_of(scores: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield (name, number) of all scores: `scores/pdiff/accuracy/best`, and `run/audit/...` for the run as a whole."""
    for source, given in scores["networks"].items():
        yield from _leaves(f"scores/{source}", given)
    for evaluator in scores["columns"]:
        yield from _leaves(f"run/{evaluator}", scores.get(evaluator, {}))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{name}/{key}", item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def flat(table: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of tables: `method.codec.latent`, `baseline.0.name`; a list of values is one."""
    if isinstance(table, Mapping):
        items: Any = table.items()
    elif isinstance(table, list | tuple) and any(isinstance(item, Mapping) for item in table):
        items = enumerate(table)
    else:
        yield name, table
        return
    for key, item in items:
        yield from flat(item, f"{name}.{key}" if name else str(key))


def library(name: str) -> ModuleType:
    """Import a tracker's library. Raises UserError that names the extra where it is absent or cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _absent(name, " ".join(str(error).split())) from None


def foresee_library(name: str) -> None:
    """Raise UserError that names the extra where a tracker's library is absent, without importing it."""
    if importlib.util.find_spec(name) is None:
        raise _absent(name, f"no module named {name!r}")


def _absent(name: str, why: str) -> UserError:
    mend = f"pip install 'neural-pdiff[{name}]', or leave it out"
    return UserError(f"run.track: {name} cannot be imported ({why}); {mend}")


def began(tracker: str, error: Exception) -> UserError:
    """Return what to raise where a library cannot begin."""
    why = " ".join(str(error).split())[:300] or type(error).__name__
    return UserError(f"run.track: {tracker} cannot begin ({why}); mend it, or leave it out")

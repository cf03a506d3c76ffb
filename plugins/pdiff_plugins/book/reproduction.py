"""Running the cells of a table, and the page that sets ours beside what is published."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pdiff
from pdiff.cli.text import console, print_lines
from pdiff.components import Engine
from pdiff.errors import Faults, Lacking, UserError
from pdiff.files import make_folder, write_text
from pdiff.running.remote import local
from pdiff_plugins.book.cells import Cell
from pdiff_plugins.book.write import text_of

OFFLINE = "HF_HUB_OFFLINE"
"""The variable by which the hub's library fetches nothing, where it is set before that is imported."""


@dataclass(frozen=True)
class Variant:
    """How the cells are run."""

    smoke: bool = False
    efficient: bool = False
    download: bool = False

    @property
    def name(self) -> str:
        return "-".join(word for word in ("efficient", "smoke") if getattr(self, word)) or "paper"

    def recipe(self, recipe: dict[str, Any]) -> dict[str, Any]:
        """Return the recipe as it is run."""
        from pdiff_plugins.book import variants

        for word in ("efficient", "smoke"):
            recipe = getattr(variants, word)(recipe) if getattr(self, word) else recipe
        return recipe


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: its scores, or the reason why it has none."""

    cell: Cell
    scores: dict[str, Any] | None = None
    reason: str = ""


def reproduce(
    table: str, cells: Mapping[str, Cell], variant: Variant, overrides: dict[str, Any], out: str
) -> list[Outcome]:
    """Run the cells, print one line each, and write the page after each. Raises UserError when none could be run."""
    with _offline(not variant.download):
        more = {} if variant.download else {"run.download": False}
        return _reproduce(table, cells, variant, more | overrides, out)


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """Let the hub's library fetch nothing, here and in processes that are started here."""
    before = os.environ.get(OFFLINE)
    os.environ.update({OFFLINE: "1"} if wanted else {})
    try:
        yield
    finally:
        os.environ.pop(OFFLINE, None)
        os.environ.update({} if before is None else {OFFLINE: before})


def sweep(
    table: str, cells: Mapping[str, Cell], variant: Variant, sets: Sequence[str], always: dict[str, Any],
    engine: Engine, workers: int, dry_run: bool,
) -> None:  # fmt: skip
    """Run the cells by an engine, each with every combination of the values of `sets`, as `pdiff sweep` does."""
    from pdiff_plugins.book.tables import tables
    from pdiff_plugins.fleet.campaign import Campaign
    from pdiff_plugins.fleet.grid import grid

    out = local(always["run.out"])
    paths = [str(_write(cell, variant, out)) for cell in cells.values()]
    with _offline(not variant.download):
        more = {} if variant.download else {"run.download": False}
        campaign = Campaign(
            grid(paths, sets, more | always), (), out, f"{table}-{variant.name}", f"{table}: {tables()[table].title}"
        )
        campaign.run(engine, workers, dry_run, skip=True)


def _reproduce(
    table: str, cells: Mapping[str, Cell], variant: Variant, overrides: dict[str, Any], out: str
) -> list[Outcome]:
    from pdiff_plugins.book import comparison

    outcomes: list[Outcome] = []
    page = local(out) / "reproduce" / f"{table}-{variant.name}{_suffix(table, cells, overrides)}"
    how = _how(variant, overrides)
    for number, (name, cell) in enumerate(cells.items(), start=1):
        _say(f"[{number}/{len(cells)}] {name}: {cell.about}")
        outcomes.append(_run(cell, variant, overrides, local(out)))
        _say(f"[{number}/{len(cells)}] {name}: {comparison.line(outcomes[-1])}")
        comparison.write(page, table, how, outcomes)
    _say(f"page: {page}.html, {page}.md")
    if not any(outcome.scores for outcome in outcomes):
        raise UserError(f"reproduce {table}: none of its {len(outcomes)} cells could be run; the reasons are above")
    return outcomes


def _suffix(table: str, cells: Mapping[str, Cell], overrides: Mapping[str, Any]) -> str:
    """Return what tells the page of some cells, or of changed ones, from that of the whole table."""
    from pdiff_plugins.book.tables import tables

    changed = {key: repr(value) for key, value in sorted(overrides.items()) if not key.startswith("run.")}
    if not changed and len(cells) == len(tables()[table].cells):
        return ""
    return "-" + hashlib.sha256(repr((list(cells), changed)).encode()).hexdigest()[:6]


def _how(variant: Variant, overrides: Mapping[str, Any]) -> str:
    """Return what a reader of the page must know of the settings."""
    notes = ["the paper's settings"]
    if variant.efficient:
        notes = [
            "pdiff's own method instead of the paper's (cells that vary noise take the codec autoencoder, others "
            "principal components), the rest as in the paper"
        ]
    if variant.smoke:
        notes.append("a smoke test of a few steps from random weights, whose numbers mean nothing")
    changed = [f"{key} = {value!r}" for key, value in overrides.items() if not key.startswith("run.")]
    return "; ".join(notes + ([f"changed: {', '.join(changed)}"] if changed else []))


def _run(cell: Cell, variant: Variant, overrides: dict[str, Any], out: Path) -> Outcome:
    path = _write(cell, variant, out)
    try:
        pdiff.prepare(path, set=overrides)
    except Lacking as error:
        return Outcome(cell, reason=f"skipped: {'; '.join(error.lines)}")
    except Faults:  # a mistake in --set ends the command
        raise
    except UserError as error:
        return Outcome(cell, reason=f"skipped: {error}")
    try:
        return Outcome(cell, pdiff.run(path, set=overrides, console=console()).scores)
    except UserError as error:
        return Outcome(cell, reason=f"failed: {error}")
    except Exception as error:  # out of memory, for one: the other cells are not to suffer
        return Outcome(cell, reason=f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _write(cell: Cell, variant: Variant, out: Path) -> Path:
    """Write a cell's recipe, and return its path."""
    path = out / "reproduce" / variant.name / f"{cell.name}.toml"
    make_folder(path.parent)
    write_text(path, text_of(variant.recipe(cell.recipe), f"{cell.about}, as `pdiff reproduce` runs it."))
    return path


def _say(line: str) -> None:
    print_lines([line])

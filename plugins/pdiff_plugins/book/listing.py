"""What there is to reproduce; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from pdiff.errors import UserError, did_you_mean
from pdiff_plugins.book.cells import Cell
from pdiff_plugins.book.tables import cells, tables


def chosen(table: str, only: Sequence[str]) -> dict[str, Cell]:
    """Return a table's cells by name, those that match one of `only`. Raises UserError where nothing does."""
    known = tables()
    if table not in known:
        raise UserError(f"reproduce: no table {table!r}{did_you_mean(table, list(known))}; known: {', '.join(known)}")
    names = known[table].cells
    for pattern in only:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = did_you_mean(pattern, names)
            raise UserError(f"--only {pattern}: {table} has no such cell{near}; it has {', '.join(names)}")
    return {name: cells()[name] for name in names if not only or any(fnmatchcase(name, pattern) for pattern in only)}


def show(table: str, cells_of: Mapping[str, Cell]) -> None:
    """Print the tables, or the cells of one."""
    from pdiff.cli.text import print_table

    if not table:
        rows = [[name, str(len(known.cells)), known.title] for name, known in tables().items()]
        print_table(["table", "cells", "what it varies"], rows)
        return
    head = ["cell", "data set", "architecture", "log: originals", "log: generated"]
    print_table(head, [[name, *_about(cell)] for name, cell in cells_of.items()])


def _about(cell: Cell) -> list[str]:
    recipe = cell.recipe
    log: Mapping[str, Any] = next(
        (reference for reference in recipe.get("expect", []) if reference["name"] == "log"), {}
    )
    generated = log.get("pdiff", log.get("vae", {}))
    shown = [f"{spread['mean']:.2f}" if spread else "" for spread in (log.get("original", {}), generated)]
    return [recipe["dataset"]["name"], recipe["architecture"]["name"], *shown]

"""What commands print."""

from __future__ import annotations

import functools
from typing import Any

from rich.console import Console
from rich.table import Table

from pdiff.results.summary import expected, notes, sources, table


@functools.cache
def console() -> Console:
    return Console()


def print_table(head: list[str], rows: list[list[str]], title: str = "") -> None:
    """Print a table; text columns to the left, numbers to the right."""
    if title:
        console().print(title, markup=False, highlight=False, soft_wrap=True)
    narrow = console().is_terminal and console().width < 100
    grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1 if narrow else 2, 0, 0))
    for index, name in enumerate(head):
        cells = [row[index] for row in rows]
        numeric = bool(cells) and all(map(_numeric, cells))
        narrowest = (
            max(map(len, cells)) if numeric or (cells and index == 0) else 0
        )  # a narrow window folds the other columns
        grid.add_column(name, justify="right" if numeric else "left", overflow="fold", min_width=narrowest)
    for row in rows:
        grid.add_row(*row)
    wide = console() if console().is_terminal else Console(width=200)
    wide.print(grid, markup=False, highlight=False)


def _numeric(text: str) -> bool:
    return text == "" or (text[0] in "+-0123456789" and text[-1] in "%0123456789")


def print_run(scores: dict[str, Any]) -> None:
    """Print the summary of a run: its table, its notes, and published numbers beside ours."""
    console().print(f"run: {scores['run']}", markup=False, highlight=False, soft_wrap=True)
    print_table(*table(scores))
    for line in notes(scores):
        console().print(line, markup=False, highlight=False, soft_wrap=True)
    head, rows = expected(scores)
    if rows:
        print_table(head, rows, title=f"\nexpected ({sources(scores)})")

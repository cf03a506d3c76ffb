"""What commands print."""

from __future__ import annotations

import contextlib
import functools
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pdiff.results.summary import expected, notes, shown, sources, table, told

LONGEST = 80
"""Columns of what is no terminal."""


@functools.cache
def console() -> Console:
    return Console()


@contextlib.contextmanager
def starting(what: str, quiet: bool = False) -> Iterator[None]:
    """Say at once what begins, while what takes seconds to load is loaded; a terminal forgets it."""
    if console().is_terminal and not quiet:
        with console().status(what):
            yield
    else:
        yield


def print_lines(lines: Iterable[str]) -> None:
    """Print lines as they are: a terminal breaks them between words, elsewhere each stays one."""
    for line in lines:
        console().print(Text(line), soft_wrap=not console().is_terminal)


def width() -> int:
    """Return how wide a table can be."""
    return console().width if console().is_terminal else LONGEST


def print_table(head: list[str], rows: list[list[str]], title: str = "") -> None:
    """Print a table, text to the left and numbers to the right; a narrow terminal breaks text, not numbers or names."""
    if title:
        print_lines([title])
    cells = [[name, *(row[index] for row in rows)] for index, name in enumerate(head)]
    widths = [max(len(line) for cell in column for line in cell.split("\n")) for column in cells]
    grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index, column in enumerate(cells):
        numeric = len(column) > 1 and all(map(_numeric, column[1:]))
        narrowest = widths[index] if numeric or index == 0 else 0  # a narrow window folds the other columns
        grid.add_column(column[0], justify="right" if numeric else "left", overflow="fold", min_width=narrowest)
    for row in rows:
        grid.add_row(*map(Text, row))
    if console().is_terminal:
        console().print(grid)
        return
    plain = Console(width=max(LONGEST, sum(widths) + 2 * len(widths)), file=console().file, color_system=None)
    with plain.capture() as capture:
        plain.print(grid)
    print_lines(line.rstrip() for line in capture.get().splitlines())


def _numeric(text: str) -> bool:
    return text == "" or (text[0] in "+-0123456789" and text[-1] in "%0123456789")


def print_reports(paths: Iterable[Path]) -> None:
    """Print where the pages of a run are that people read."""
    print_lines(f"report: {path}" for path in paths if path.suffix in (".html", ".md"))


def print_run(scores: dict[str, Any], folder: Path, wide: bool = False) -> None:
    """Print the summary of a run: its table, what it says, and published numbers beside ours.

    Columns that matter less are left out, and named, unless all are asked for.
    """
    print_lines([f"run: {scores['run']}"])
    head, rows = table(scores)
    kept = list(range(len(head))) if wide else shown(scores, head, rows, width())
    print_table([head[index] for index in kept], [[row[index] for index in kept] for row in rows])
    left = [name for index, name in enumerate(head) if index not in kept]
    if left:
        more = f"{len(left)} columns more ({', '.join(left)}): pdiff show {shlex.quote(str(folder))} --wide, or --json"
        print_lines(textwrap.wrap(more, width(), break_long_words=False, break_on_hyphens=False))
    if lines := told(scores):
        print_lines(["", *lines, ""])
    print_lines(notes(scores, {head[index] for index in kept}))
    head, rows = expected(scores)
    if rows:
        print_table(head, rows, title=f"\nexpected ({sources(scores)})")


def in_a_line(about: Mapping[str, Any]) -> str:
    """Return what a network is about, as a table has room for it."""
    said = (f"{key} {' '.join(map(str, value)) if isinstance(value, list) else value}" for key, value in about.items())
    text = ", ".join(said)
    return text if len(text) <= 40 else f"{text[:37]}..."

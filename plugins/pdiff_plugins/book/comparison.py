"""Ours beside the paper's and the logs': one page for a table."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdiff.files import make_folder, write_text
from pdiff.results.summary import expected, ours_for, sources, table
from pdiff_plugins.book.tables import tables
from pdiff_plugins.drawing import page
from pdiff_plugins.reports.reports import markdown_table, plain

if TYPE_CHECKING:
    from pdiff_plugins.book.reproduction import Outcome

Section = tuple[str, list[str], list[list[str]], str]
"""Title, head and rows of a table, and a line below it."""
PAPER = "Neural Network Diffusion, arXiv 2402.13144"


def write(path: Path, name: str, how: str, outcomes: Sequence[Outcome]) -> None:
    """Write path.html and path.md."""
    title, sections = f"{name}: {tables()[name].title}", [_overview(outcomes), *map(_cell, _done(outcomes))]
    about = f"{PAPER}, {name}. Settings: {how}. {datetime.date.today()}."
    make_folder(path.parent)
    html = {
        heading: page.table(head, rows) + page.notes([below] if below else [])
        for heading, head, rows, below in sections
    }
    write_text(Path(f"{path}.html"), page.page(title, title, about, html))
    text = [f"# {plain(title)}", about, *(_markdown(*section) for section in sections)]
    write_text(Path(f"{path}.md"), "\n\n".join(text) + "\n")


def line(outcome: Outcome) -> str:
    """Return what became of a cell in one line."""
    if outcome.scores is None:
        return outcome.reason
    scores = outcome.scores
    numbers = [f"{source} {_number(ours_for(scores, source, 'mean'))}" for source in ("original", scores["method"])]
    logged = [_number(_published(scores, source, "mean")) for source in ("original", scores["method"])]
    return f"mean {', '.join(numbers)}" + (f" (published {', '.join(logged)})" if any(logged) else "")


def _done(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.scores is not None]


def _overview(outcomes: Sequence[Outcome]) -> Section:
    head = [
        "cell", "originals, mean: published", "ours", "difference", "generated, mean: published", "ours", "difference",
        "gain: published", "ours", "overlap g-g: published", "ours", "soup", "constant", "",
    ]  # fmt: skip
    rows = [[outcome.cell.name, *_row(outcome.scores), _short(outcome.reason)] for outcome in outcomes]
    below = "Gain: mean of the generated networks less mean of the originals. Overlap: IoU of wrong answers."
    return "All cells", head, rows, below


def _row(scores: dict[str, Any] | None) -> list[str]:
    if scores is None:
        return [""] * 12
    method, means = scores["method"], []
    for source in ("original", method):
        means.append((_published(scores, source, "mean"), ours_for(scores, source, "mean")))
    gains = [_difference(generated, original) for original, generated in zip(*means, strict=True)]
    overlaps = _published(scores, "similarity", "gg"), ours_for(scores, "similarity", "gg")
    cells = [text for pair in means for text in (*map(_number, pair), _signed(_difference(pair[1], pair[0])))]
    others = [_number(ours_for(scores, source, "mean")) for source in ("soup", "constant")]
    return [*cells, *map(_signed, gains), *(_number(value, 3) for value in overlaps), *others]


def _cell(outcome: Outcome) -> Section:
    """Return every published number beside ours."""
    scores = outcome.scores or {}
    head, rows = expected(scores)
    names = head[2:-1]
    if not rows:
        return outcome.cell.name, *table(scores), f"{outcome.cell.about}. Nothing is published for this cell."
    below = f"{outcome.cell.about}. {sources(scores)}"
    more = [[*row, *(_signed(_difference(_value(row[-1]), _value(cell))) for cell in row[2:-1])] for row in rows]
    return outcome.cell.name, [*head, *(f"ours - {name}" for name in names)], more, below


def _published(scores: dict[str, Any], group: str, key: str) -> float | None:
    """Return the first reference's number."""
    numbers = (reference[group][key] for reference in scores["expect"] if key in (reference.get(group) or {}))
    return next(numbers, None)


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _value(cell: str) -> float | None:
    return float(cell) if cell else None


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3g}"


def _short(reason: str) -> str:
    return reason if len(reason) < 160 else f"{reason[:157]}..."


def _markdown(title: str, head: list[str], rows: list[list[str]], below: str) -> str:
    paragraphs = f"## {plain(title)}", markdown_table(head, rows), plain(below)
    return "\n\n".join(filter(None, paragraphs))

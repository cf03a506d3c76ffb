"""Summary: the scores of a run as a table; reads JSON only, so showing a run imports no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping
from typing import Any

from pdiff.results.scores import Spread, Unit, beside, compared, nothing, unit_of

SCORE = "score"
"""Format of a column that holds the task's score, or a difference of two, in its own unit."""


def table(scores: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return (head, rows), one row per source, and per what stands beside them; one column per number to be shown."""
    columns = [(name, *column) for name, listed in scores["columns"].items() for column in listed]
    others = {what: {**rows, "count": ""} for what, rows in beside(scores).items()}
    every = {**scores["networks"], **others}
    there = {(n, key) for s in every.values() for n, _, key, _ in columns if s.get(n, {}).get(key) is not None}
    columns = [column for column in columns if (column[0], column[2]) in there]
    head = ["networks", "n", *[title for _, title, _, _ in columns]]
    rows, unit = [], unit_of(scores)
    for source, scored in every.items():
        cells = [cell(scored.get(name, {}).get(key), spec, unit) for name, _, key, spec in columns]
        rows.append([source, str(scored["count"]), *cells])
    return head, rows


def shown(scores: Mapping[str, Any], head: list[str], rows: list[list[str]], width: int) -> list[int]:
    """Return the columns that a terminal shows: two, what matters most, if it fits; of one title the fullest."""
    first, filled = (
        set(scores.get("first", ())) or set(head),
        [sum(map(bool, column)) for column in zip(*rows, strict=True)],
    )
    kept = [index for index, title in enumerate(head) if index < 2 or title in first]
    if "first" in scores:
        best = {head[index]: index for index in sorted(kept, key=filled.__getitem__)}
        kept = [index for index in kept if best[head[index]] == index]
    widths = [max(map(len, (title, *(row[index] for row in rows)))) for index, title in enumerate(head)]
    while len(kept) > 2 and sum(widths[index] + 2 for index in kept) - 2 > width:
        kept.pop()
    return kept


def told(scores: Mapping[str, Any]) -> list[str]:
    """Return the verdict, in a line, where an evaluator gives one; a run that can tell nothing has none."""
    verdict = "" if nothing(scores) else scores.get("verdict", "")
    return [f"verdict: {verdict}"] if verdict else []


def cell(value: Any, spec: str, unit: Unit) -> str:
    """Return a number as a column's format spec has it, which for scores is `SCORE`; None is left blank."""
    if value is None:
        return ""
    return unit.text(value) if spec == SCORE else format(value, spec)


def expected(scores: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return (head, rows) that set each `[[expect]]` beside ours: one row per published number."""
    published = scores.get("expect", [])
    numbers = [_numbers(reference) for reference in published]
    rows = []
    for what in dict.fromkeys(what for of_one in numbers for what in of_one):
        cells = [f"{of_one[what]:g}" if what in of_one else "" for of_one in numbers]
        ours = ours_for(scores, *what)
        rows.append([*what, *cells, "" if ours is None else f"{ours:.4g}"])
    return ["what", "", *(reference["name"] for reference in published), "ours"], rows


def sources(scores: dict[str, Any]) -> str:
    """Return where the published numbers come from."""
    return "; ".join(f"{reference['name']}: {reference['source']}" for reference in scores.get("expect", []))


def _numbers(reference: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Return the numbers of one `[[expect]]` by (group, key)."""
    groups = {group: table for group, table in reference.items() if isinstance(table, dict)}
    return {(group, key): value for group, table in groups.items() for key, value in table.items()}


def ours_for(scores: dict[str, Any], group: str, key: str) -> float | None:
    """Find our number for a published one: of a source's main score in per cent, or of the run as a whole."""
    known: Mapping[str, Mapping[str, Any]] = compared(scores)
    if group in known or group in scores["networks"]:
        score = known.get(group, {})
        name = "max" if key == "best" and "max" in score and scores["protocol"] == "paper" else key
        return unit_of(scores).factor * score[name] if name in score else None
    value = scores.get(group, {}).get(key) if isinstance(scores.get(group), dict) else None
    return value if isinstance(value, int | float) else None


def notes(scores: dict[str, Any], titles: Collection[str] | None = None) -> list[str]:
    """Return what a reader must know beside the numbers; `titles`: of the columns that are shown, by default all."""
    where = 'the test split itself (protocol = "paper")' if scores["protocol"] == "paper" else "the validation split"
    first = "scores are of the test split; epochs, and the network whose score is `best`, are selected on " + where
    return [*filter(None, [headline(scores)]), first, *_legends(scores, titles), *scores["notes"]]


def _legends(scores: Mapping[str, Any], titles: Collection[str] | None) -> list[str]:
    """Return the legends, those clauses left out that begin with the title of no column that is shown."""
    if titles is None:
        return list(scores["legends"])
    kept = ("; ".join(clause for clause in legend.split("; ") if _of(clause, titles)) for legend in scores["legends"])
    return [legend for legend in kept if legend]


def _of(clause: str, titles: Collection[str]) -> bool:
    words = clause.partition(":")[0].split(", ") if ":" in clause else [""]
    return any(title.startswith(word) for title in titles for word in words)


def headline(scores: Mapping[str, Any]) -> str:
    """Return what stands above everything else where the run can tell nothing; else nothing."""
    reasons = nothing(scores)
    return f"this run can tell nothing about a generator: {'; '.join(reasons)}" if reasons else ""


def spread(values: list[float]) -> Spread:
    """Return mean, std (population), median, min and max of a list."""
    return {
        "mean": statistics.fmean(values),
        "std": statistics.pstdev(values) if all(map(math.isfinite, values)) else math.nan,
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
    }

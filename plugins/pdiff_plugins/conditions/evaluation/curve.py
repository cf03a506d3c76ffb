"""Score against the distance from the nearest learnt task; reads JSON only."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pdiff.results.scores import given_by
from pdiff.view import ORIGINAL

BINS = 5
"""Into which distances are put that take more values."""
CONTROLS = 3
"""The strongest, beside the method."""


@dataclass(frozen=True)
class Bin:
    """Tasks that are about as far from the nearest learnt one."""

    name: str
    place: float
    """Their mean distance."""
    count: int
    scores: dict[str, float]
    """Row -> mean score."""


def shown(scores: Mapping[str, Any]) -> list[str]:
    """Return the rows that a curve shows: the method, its strongest controls, the tasks' own networks."""
    gains = scores["conditions"]["gains"]
    controls = [row for row in gains if row != ORIGINAL][:CONTROLS]
    return [scores["method"], *controls, ORIGINAL]


def curve(scores: Mapping[str, Any]) -> list[Bin]:
    """Return means by distance, the nearest first; learnt tasks are a bin of their own, at distance 0."""
    ours = scores["conditions"]
    by_row = {row: each["tasks"] for row, each in (given_by(scores, "conditions") | ours["beside"]).items()}
    rows = [row for row in shown(scores) if row in by_row]
    bins = [_bin("learnt", [(0.0, "learnt", i) for i in range(len(ours["distances"]["learnt"]))], rows, by_row)]
    unseen = sorted(
        (float(f"{distance:.6g}"), part, number)  # rounding of conditions makes several of one
        for part in ("held out", "hard") for number, distance in enumerate(ours["distances"][part])
    )  # fmt: skip
    values = sorted({distance for distance, *_ in unseen})
    groups: list[list[tuple[float, str, int]]]
    if len(values) <= BINS:
        groups = [[task for task in unseen if task[0] == value] for value in values]
    else:
        ends = [round(place * len(unseen) / BINS) for place in range(BINS + 1)]
        groups = [unseen[start:stop] for start, stop in itertools.pairwise(ends)]
    bins += [_bin(_named(group), group, rows, by_row) for group in groups]
    return [each for each in bins if each.count]


def _bin(name: str, tasks: list[tuple[float, str, int]], rows: list[str], by_row: Mapping[str, Any]) -> Bin:
    count = len(tasks)
    scores = {row: sum(by_row[row][part][number] for _, part, number in tasks) / max(count, 1) for row in rows}
    return Bin(name, sum(distance for distance, *_ in tasks) / max(count, 1), count, scores)


def _named(tasks: list[tuple[float, str, int]]) -> str:
    low, high = (f"{tasks[end][0]:.3g}" for end in (0, -1)) if tasks else ("", "")
    return low if low == high else f"{low} to {high}"

"""Numbers from the paper itself, in per cent; those of the authors' logs are in cells.csv."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Groups = Mapping[str, Mapping[str, float]]

V1_SOURCE = (
    "project page of the paper's first version (2024): best of the originals, their weight average, best of p-diff; "
    "another protocol than the logs'"
)
V1_SETS = ("mnist", "cifar10", "cifar100", "stl10", "flowers", "pets", "food101", "in1k")
V1 = {
    "resnet18": "99.2/99.2/99.3 92.5/92.5/92.7 76.7/76.7/76.9 75.5/75.5/75.4 49.1/49.1/49.7 60.9/60.8/61.1 "
    "71.2/71.3/71.3 78.7/78.5/78.7",
    "resnet50": "99.4/99.3/99.4 91.3/91.4/91.3 71.6/71.6/71.7 69.2/69.1/69.2 33.7/33.9/38.1 58.0/58.0/58.0 "
    "68.6/68.6/68.6 79.2/79.2/79.3",
    "vittiny": "99.5/99.5/99.5 96.8/96.8/96.8 86.7/86.8/86.7 97.3/97.3/97.3 87.5/87.5/87.5 89.3/89.3/89.3 "
    "78.5/78.4/78.5 73.7/73.7/74.1",
    "vitbase": "99.5/99.4/99.5 98.7/98.7/98.7 91.5/91.4/91.7 99.1/99.0/99.2 98.3/98.3/98.3 91.6/91.5/91.7 "
    "83.4/83.4/83.4 84.5/84.5/84.7",
    "convnexttiny": "99.3/99.4/99.3 97.6/97.6/97.7 87.0/87.0/87.1 98.2/98.0/98.2 70.0/70.0/70.5 92.9/92.8/93.0 "
    "76.1/76.1/76.2 82.1/82.1/82.3",
    "convnextbase": "99.3/99.3/99.4 98.1/98.1/98.1 88.3/88.4/88.4 98.8/98.8/98.9 88.4/88.4/88.5 94.1/94.0/94.1 "
    "81.4/81.4/81.6 83.8/83.7/83.9",
}

TABLE_7_SOURCE = "arXiv 2402.13144v3, Table 7"
TABLE_7 = {
    "mnist": {"original": 92.1, "kde dimension": 68.6, "kde token": 84.8, "kde token best of 5": 86.7, "pdiff": 93.3},
    "svhn": {"original": 71.3, "kde dimension": 54.5, "kde token": 70.7, "kde token best of 5": 72.3, "pdiff": 74.1},
}
"""Means of the originals, S_KDE30, SANE_KDE30, SANE_SUB and p-diff."""
LOGGED = {"mnist": {"original": 92.05, "pdiff": 93.25}}
"""The same by the authors' logs, which the repository holds no longer."""

TABLE_10: dict[str, Groups] = {
    "fasterrcnn": {"original": {"best": 36.9}, "pdiff": {"best": 37.0}},
    "fcos": {"original": {"best": 39.1}},  # of p-diff's we have no source at hand
}
TABLE_11: Groups = {"original": {"best": 60.5}, "pdiff": {"best": 60.7}}
TABLE_12: Groups = {"frechet": {"original_best": 3.17, "generated_best": 3.19}}


def reference(name: str, source: str, groups: Groups) -> dict[str, Any]:
    """Return one table of a recipe's [[expect]]."""
    return {"name": name, "source": source, **groups}


def first_version(data: str, architecture: str) -> list[dict[str, Any]]:
    """Return the numbers of the first version's table, where it has the cell."""
    if architecture not in V1:
        return []
    original, soup, generated = map(float, V1[architecture].split()[V1_SETS.index(data)].split("/"))
    groups = {"original": {"best": original}, "soup": {"best": soup}, "pdiff": {"best": generated}}
    return [reference("paper v1", V1_SOURCE, groups)]


def table_7(data: str) -> list[dict[str, Any]]:
    """Return a row of Table 7, and of the logs where they are known."""
    tables = (("paper", TABLE_7_SOURCE, TABLE_7), ("log", "the authors' log, which gave means alone", LOGGED))
    return [
        reference(name, source, {group: {"mean": value} for group, value in rows[data].items()})
        for name, source, rows in tables
        if data in rows
    ]

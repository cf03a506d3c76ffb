"""One median for everybody: that of the standard library."""

from __future__ import annotations

import ast
import statistics

import torch
from hypothesis import given
from hypothesis import strategies as st

from pdiff_plugins.maths.median import median
from tests.helpers import ROOT


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_it_is_the_standard_librarys(values: list[float]) -> None:
    assert median(torch.tensor(values, dtype=torch.float64)) == statistics.median(values)


def test_of_what_is_no_number_and_of_nothing_it_is_none() -> None:
    assert median(torch.tensor([1.0, float("nan"), 3.0])) != median(torch.tensor([1.0, float("nan"), 3.0]))
    assert median(torch.tensor([])) != median(torch.tensor([]))
    assert median(torch.tensor([1.0, float("inf")])) == float("inf")


def test_nobody_takes_torchs_which_is_the_lower_of_two() -> None:
    nodes = [
        (path.name, node)
        for package in ("pdiff", "plugins")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]
    taken = [
        f"{name}:{node.lineno}"
        for name, node in nodes
        if isinstance(node, ast.Attribute)
        and node.attr in ("median", "nanmedian")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("np", "statistics", "aten"))
    ]
    assert not taken

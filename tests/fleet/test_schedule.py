"""The schedule of benchmarks/book_cost.py, against what is known in closed form."""

from __future__ import annotations

import math
from types import ModuleType

import pytest

from tests.helpers import ROOT


@pytest.fixture
def schedule(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return pytest.importorskip("schedule")


@pytest.mark.parametrize("workers", [1, 3, 64])
def test_a_chain_takes_its_length_and_independent_stages_take_turns(schedule: ModuleType, workers: int) -> None:
    chain = {str(n): schedule.Task(1.0, (str(n - 1),) if n else (), cell=n % 2) for n in range(7)}
    assert schedule.chain(chain) == 7
    assert schedule.simulate(chain, workers) == schedule.Outcome(7, pytest.approx(1 / workers))
    alone = {str(n): schedule.Task(1.0, cell=n) for n in range(100)}
    turns = math.ceil(100 / workers)
    assert schedule.chain(alone) == 1
    assert schedule.simulate(alone, workers) == schedule.Outcome(turns, pytest.approx(100 / turns / workers))


def test_a_stage_waits_for_all_that_it_needs(schedule: ModuleType) -> None:
    graph = {
        "a": schedule.Task(2.0), "b": schedule.Task(5.0, cell=1), "c": schedule.Task(1.0, ("a", "b")),
        "d": schedule.Task(3.0, ("a",)),
    }  # fmt: skip
    assert schedule.chain(graph) == schedule.simulate(graph, 2).makespan == 6
    assert schedule.simulate(graph, 1).makespan == 11

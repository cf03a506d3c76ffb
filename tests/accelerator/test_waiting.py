"""How often the host waits for a pretended accelerator: not at a step, but for what docs/reliability.md lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pdiff.components import KINDS
from pdiff.context import Context
from pdiff.networks import build_network
from pdiff.testing import Points, TinyNet, TinyTask, bench_of, tiny_splits, tiny_zoo
from pdiff.training import loop
from pdiff.zoo import Layout, Zoo
from tests.accelerator.modes import pretended


def waits(work: Callable[[int], Any]) -> Counter[str]:
    """Return for what the host waits more in 40 steps than in 20."""
    counts = []
    with pretended() as pretence:
        for steps in (20, 40):
            before = len(pretence.syncs)
            work(steps)
            counts.append(Counter(pretence.syncs[before:]))
    assert not pretence.faults and not pretence.pageable
    return counts[1] - counts[0]


def context() -> Context:
    return Context(seed=3, device=torch.device("cuda:0"), warn=lambda line: None)


@pytest.fixture(autouse=True)
def two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log has two rows, however many steps there are."""
    monkeypatch.setattr(loop, "LOG_ROWS", 2)


def collect(name: str, steps: int, **options: Any) -> None:
    data, count = tiny_splits(), {"trajectory": "count", "seeds": "steps"}[name]
    model = build_network(TinyNet(), data, seed=0)
    layout = Layout.of(model, list(dict(model.named_parameters())))
    bench = bench_of(Zoo.of_one(model.state_dict(), layout), TinyNet(), TinyTask(), data)
    collector = KINDS["collector"].model_validate({"name": name, "lr": 0.01, "batch_size": 20, count: steps} | options)
    collector.collect(model.to("cuda:0"), data=data, task=TinyTask(), layout=layout, bench=bench, ctx=context())


def test_a_trajectory_waits_for_no_checkpoint() -> None:
    assert not waits(lambda steps: collect("trajectory", steps))


def test_seeds_wait_for_their_bar_at_every_tenth_step() -> None:
    seeds = {"start": "base", "count": 3}
    assert waits(lambda steps: collect("seeds", steps, **seeds)) == {"_local_scalar_dense": 2}


@pytest.mark.parametrize("name", ["pdiff", pytest.param("flow_matching", marks=pytest.mark.slow)])
def test_sampling_waits_for_no_step(name: str) -> None:
    zoo = tiny_zoo()

    def work(steps: int) -> None:
        options = {"steps": 5, "batch_size": 20, "sampling_steps": steps} | (
            {"timesteps": 40} if name == "pdiff" else {}
        )
        method = KINDS["method"].model_validate({"name": name} | options)
        method.fit(zoo, Points(zoo), context()).sample(7, Points(zoo), context())

    assert not waits(work)

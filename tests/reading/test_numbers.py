"""Numbers of readings, against closed forms and plain counting."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from pdiff.zoo import Layout, Zoo
from pdiff_plugins.reading.judging import parted
from pdiff_plugins.reading.numbers import gains, nearness, saving, tau

VALUES = st.lists(st.integers(0, 4), min_size=2, max_size=5)


def numbers(values: list[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_nearness_is_that_of_others() -> None:
    true, read = torch.rand(2, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = nearness(read, true)
    assert found["r2"] == pytest.approx(r2_score(true, read))
    assert found["error"] == pytest.approx(float((true - read).abs().mean()))
    alike = nearness(read, torch.ones(40, dtype=torch.float64))
    assert alike["r2"] is None and alike["tau"] is None


@given(VALUES, st.randoms())
def test_tau_counts_pairs(values: list[int], random) -> None:
    other = random.sample(values, len(values))
    pairs = list(itertools.combinations(zip(values, other, strict=True), 2))
    signs = [(a[0] - b[0]) * (a[1] - b[1]) for a, b in pairs]
    untied = [sum(a[side] != b[side] for a, b in pairs) for side in (0, 1)]
    found = tau(numbers(values), numbers(other))
    if not all(untied):
        assert found is None
    else:
        agree = sum(sign > 0 for sign in signs) - sum(sign < 0 for sign in signs)
        assert found == pytest.approx(agree / math.sqrt(untied[0] * untied[1]))


@given(VALUES)
@settings(max_examples=15, deadline=None)
def test_what_a_random_order_takes_is_the_mean_over_all_orders(values: list[int]) -> None:
    true = numbers(values)
    tried = [saving(-numbers(list(order)), true)["tried"] for order in itertools.permutations(range(len(values)))]
    assert saving(true, true)["chance"] == pytest.approx(sum(tried) / len(tried))
    assert saving(true, true)["tried"] == saving(true, true, lower=True)["tried"] == 1
    assert saving(-true, true)["tried"] == 1 + sum(value < max(values) for value in values)


def test_the_first_is_the_one_that_reads_best() -> None:
    read, true = numbers([3, 1, 2]), numbers([5, 7, 6])
    assert saving(read, true) == {"tried": 3, "chance": 2.0, "first": 5.0, "mean": 6.0, "best": 7.0}
    assert saving(read, true, lower=True) == {"tried": 3, "chance": 2.0, "first": 7.0, "mean": 6.0, "best": 5.0}


def test_a_control_is_told_from_a_reader_by_runs_not_by_checkpoints() -> None:
    true = torch.zeros(40, dtype=torch.float64)
    theirs = 1 + 0.1 * torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    apart = gains(true, {"far": theirs, "same": true}, true, range(40))
    assert apart["far"]["said"] == "better" and apart["same"]["said"] == ""
    assert apart["far"]["mean"] == pytest.approx(float(theirs.square().mean()))
    assert apart["far"]["error"] == pytest.approx(float(theirs.square().std()) / math.sqrt(40))
    assert gains(theirs, {"near": true}, true, range(40))["near"]["said"] == "worse"
    joined = gains(true, {"far": theirs}, true, [number // 20 for number in range(40)])
    assert joined["far"]["freedom"] == 1


@given(st.lists(st.integers(0, 5), min_size=2, max_size=40), st.floats(0.05, 0.95), st.integers(0, 9))
def test_runs_are_learnt_or_judged_and_never_both(runs: list[int], share: float, seed: int) -> None:
    layout = Layout.of(torch.nn.Linear(1, 1), ["weight"])
    zoo = Zoo(torch.zeros(len(runs), 1), layout, {}, [{"run": run, "step": 0, "metrics": {}} for run in runs])
    learnt, judged, apart = parted(zoo, share, torch.Generator().manual_seed(seed))
    assert sorted([*learnt, *judged]) == list(range(len(runs))) and learnt and judged
    assert apart == (len(set(runs)) > 1)
    if apart:
        assert not {runs[row] for row in learnt} & {runs[row] for row in judged}
    if len(set(runs)) == len(runs) or not apart:
        assert abs(len(judged) - share * len(runs)) <= 1

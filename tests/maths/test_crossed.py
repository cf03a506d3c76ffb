"""The interval of a difference: its closed forms, its false claims where there is no difference, and its power."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch
from scipy import stats
from torch import Tensor

from pdiff_plugins.maths.crossed import difference, holm, paired

NETWORKS, EXAMPLES, BOTH, LEVEL = 0.3, 1.5, 0.7, 2.2
"""Deviations of the effects of networks, of examples and of both together, and what they are added to: an example is
right where the sum is above zero. 90 % are, with a deviation of 2 points between networks."""


def right(networks: int, example_E: Tensor, generator: torch.Generator, gain: float = 0.0) -> Tensor:
    """Draw which examples so many networks get right, `[M, E]`."""
    network_M1 = NETWORKS * torch.randn(networks, 1, generator=generator) + gain
    return LEVEL + network_M1 + example_E + BOTH * torch.randn(networks, len(example_E), generator=generator) > 0


def one(example_E: Tensor, generator: torch.Generator) -> Tensor:
    """Draw what one network gets right whose share over all examples is that of the mean network, `[1, E]`."""
    its_own, everybody = math.hypot(EXAMPLES, BOTH), math.hypot(NETWORKS, EXAMPLES, BOTH)
    return LEVEL * its_own / everybody + example_E + BOTH * torch.randn(1, len(example_E), generator=generator) > 0


def claims(ours: int, theirs: int, examples: int, repeats: int, gain: float = 0.0) -> float:
    """Return the share of repeats in which the interval leaves out zero."""
    generator, claimed = torch.Generator().manual_seed(ours + theirs + examples), 0
    for _ in range(repeats):
        example_E = EXAMPLES * torch.randn(examples, generator=generator)
        a_ME = right(ours, example_E, generator, gain)
        b_NE = one(example_E, generator) if theirs == 1 else right(theirs, example_E, generator)
        low, high = difference(a_ME, b_NE).interval()
        claimed += low > 0 or high < 0
    return claimed / repeats


@pytest.mark.parametrize(
    ("ours", "theirs", "examples"),
    [(50, 50, 200), (200, 100, 500), (100, 1, 500), (8, 8, 200), (50, 50, 2000),
     pytest.param(200, 1, 2000, marks=pytest.mark.slow), pytest.param(200, 100, 2000, marks=pytest.mark.slow)],
)  # fmt: skip
def test_without_a_difference_one_in_twenty_is_claimed(ours: int, theirs: int, examples: int) -> None:
    assert 0.03 <= claims(ours, theirs, examples, 1000) <= 0.07


def test_a_true_difference_is_found_the_oftener_the_larger_it_is() -> None:
    spread = math.hypot(NETWORKS, EXAMPLES, BOTH)
    shares = [NormalDist().cdf((LEVEL + gain) / spread) - NormalDist().cdf(LEVEL / spread) for gain in (0.06, 0.12)]
    assert shares == pytest.approx([0.0059, 0.0115], abs=1e-4)  # half a point, and one
    small, large = (claims(200, 100, 500, 200, gain) for gain in (0.06, 0.12))
    assert 0.2 < small < 0.6 and large > 0.75 and large > small + 0.2


def test_between_two_networks_it_is_the_paired_t_test() -> None:
    generator = torch.Generator().manual_seed(0)
    a_E, b_E = torch.randn(2, 300, generator=generator, dtype=torch.float64)
    ours = difference(a_E[None] + 0.1, b_E[None])
    paired = stats.ttest_rel((a_E + 0.1).numpy(), b_E.numpy())
    interval = paired.confidence_interval()
    assert ours.interval() == pytest.approx((interval.low, interval.high), rel=1e-6)
    assert ours.chance == pytest.approx(float(paired.pvalue), rel=1e-6)


def test_where_examples_do_not_matter_it_is_welchs_t_test_between_networks() -> None:
    generator = torch.Generator().manual_seed(1)
    a_M, b_N = torch.randn(9, generator=generator).double(), 2 * torch.randn(14, generator=generator).double()
    ours = difference(a_M[:, None].expand(-1, 50), b_N[:, None].expand(-1, 50))
    welch = stats.ttest_ind(a_M.numpy(), b_N.numpy(), equal_var=False)
    interval = welch.confidence_interval()
    assert ours.interval() == pytest.approx((interval.low, interval.high), rel=1e-6)
    assert ours.chance == pytest.approx(float(welch.pvalue), rel=1e-6)


def test_equal_populations_of_equal_networks_do_not_differ() -> None:
    same = difference(torch.ones(3, 10, dtype=torch.bool), torch.ones(1, 10, dtype=torch.bool))
    assert same.interval() == (0.0, 0.0) and same.chance == 1


def test_holm_rejects_step_by_step() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]  # 0.005 < 0.05/4, 0.01 < 0.05/3, 0.03 > 0.05/2
    assert holm([0.03]) == [True] and holm([]) == [] and holm([0.03, 0.04]) == [False, False]


def held(tasks: int, examples: int, deviations: tuple[float, float, float], repeats: int = 1000) -> float:
    """Return the share of intervals that hold the true mean, 0, of effects with these deviations."""
    generator, count = torch.Generator().manual_seed(tasks + examples), 0
    for _ in range(repeats):
        shapes = (tasks, 1), (1, examples), (tasks, examples)
        d_TE = sum(
            size * torch.randn(shape, generator=generator) for size, shape in zip(deviations, shapes, strict=True)
        )
        low, high = paired(d_TE).interval()
        count += low <= 0 <= high
    return count / repeats


@pytest.mark.parametrize(("tasks", "examples"), [(4, 100), (6, 200), (36, 200)])
@pytest.mark.parametrize("deviations", [(1.0, 1.0, 1.0), (0.1, 0.1, 1.0), (0.05, 1.0, 1.0), (0.3, 0.0, 1.0)])
def test_intervals_over_tasks_and_examples_hold(
    tasks: int, examples: int, deviations: tuple[float, float, float]
) -> None:
    assert 0.93 <= held(tasks, examples, deviations) <= 0.975


@pytest.mark.parametrize(("tasks", "examples"), [(5, 300), (36, 300)])
def test_intervals_of_differences_of_right_answers_hold(tasks: int, examples: int) -> None:
    generator, count = torch.Generator().manual_seed(tasks), 0
    for _ in range(600):
        example_E = 1.2 * torch.randn(1, examples, generator=generator)
        a_TE, b_TE = (
            1.5 + example_E + 0.25 * torch.randn(tasks, 1, generator=generator)
            + 0.7 * torch.randn(tasks, examples, generator=generator) > 0 for _ in range(2)
        )  # fmt: skip
        low, high = paired(a_TE.double() - b_TE.double()).interval()
        count += low <= 0 <= high
    assert 0.93 <= count / 600 <= 0.97


@pytest.mark.parametrize(("tasks", "each"), [(4, 30), (40, 60)])
@pytest.mark.parametrize("deviations", [(0.1, 1.0, 1.0), (0.3, 0.1, 1.0), (0.0, 0.5, 1.0)])
def test_intervals_hold_where_each_task_has_some_of_the_examples(
    tasks: int, each: int, deviations: tuple[float, float, float]
) -> None:
    generator, count, repeats = torch.Generator().manual_seed(tasks), 0, 600
    for _ in range(repeats):
        class_TW = torch.rand(tasks, 8, generator=generator).argsort(dim=1)[:, :5]
        example_TE = (class_TW[:, :, None] * each + torch.arange(each)).flatten(1)
        among, example, noise = deviations
        d_TE = example * torch.randn(8 * each, generator=generator)[example_TE]
        d_TE += among * torch.randn(tasks, 1, generator=generator)
        low, high = paired(d_TE + noise * torch.randn(d_TE.shape, generator=generator), example_TE).interval()
        count += low <= 0 <= high
    assert 0.92 <= count / repeats <= 0.98


def test_of_tasks_alone_it_is_the_one_sample_t_test() -> None:
    d_T = torch.randn(12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    known = stats.ttest_1samp(d_T.numpy(), 0.0)
    for d_TE in (d_T[:, None], d_T[:, None].expand(-1, 40), d_T[None].expand(30, -1)):
        assert paired(d_TE).chance == pytest.approx(float(known.pvalue), rel=1e-6)


def test_resampling_tasks_and_examples_agrees_with_the_error() -> None:
    generator = torch.Generator().manual_seed(3)
    d_TE = torch.randn(60, 1, generator=generator) + torch.randn(1, 80, generator=generator)
    d_TE = d_TE + torch.randn(60, 80, generator=generator)
    means = torch.stack([
        d_TE[torch.randint(60, (60,), generator=generator)][:, torch.randint(80, (80,), generator=generator)].mean()
        for _ in range(2000)
    ])  # fmt: skip
    assert paired(d_TE).error == pytest.approx(float(means.std()), rel=0.08)


def test_no_difference_at_all_has_no_error() -> None:
    assert paired(torch.zeros(3, 10)).interval() == (0.0, 0.0) and paired(torch.zeros(3, 10)).chance == 1

"""The interval of a difference: its closed forms, its false claims where there is no difference, and its power."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch
from scipy import stats
from torch import Tensor

from pdiff_plugins.maths.crossed import difference, holm

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

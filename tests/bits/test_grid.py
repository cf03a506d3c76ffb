"""The grid of few bits: steps that lose least, networks that stay, and what gradients pass."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from pdiff.zoo import Entry, Layout
from pdiff_plugins.bits import grid

LAYOUT = Layout(
    (
        Entry("w", (4, 6), 0),
        Entry("b", (4,), 24),
        Entry("v.running_var", (2, 2), 28, positive=True),
        Entry("c", (3, 2, 2), 32),
    )
)
SEEDS = st.integers(0, 2**31)
BITS = st.integers(2, 8)


def theta(seed: int, count: int = 3) -> torch.Tensor:
    return torch.randn(count, LAYOUT.dim, generator=torch.Generator().manual_seed(seed)) + 0.1


def on_grid(seed: int, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows [5, 40] on a grid, among them the largest and the smallest values of it, and their steps."""
    generator = torch.Generator().manual_seed(seed)
    step_R = grid.storable(torch.rand(5, generator=generator) * 10.0 ** torch.randint(-6, 3, (5,), generator=generator))
    code_RL = torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), (5, 40), generator=generator).float()
    code_RL[:, 0], code_RL[:, 1] = 2 ** (bits - 1) - 1, 0
    return grid.values(code_RL, step_R), step_R


def lost(step: float, bits: int) -> float:
    """Return the mean squared error of a Gaussian on the grid, by integration over one cell after another."""
    most = 2 ** (bits - 1)
    edges = [*(number * step for number in range(most)), math.inf]
    cells = itertools.pairwise(edges)
    return 2 * sum(
        integrate.quad(lambda x, at=(number + 0.5) * step: (x - at) ** 2 * stats.norm.pdf(x), low, high, limit=200)[0]
        for number, (low, high) in enumerate(cells)
    )


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_steps_for_a_gaussian_are_those_that_lose_least(bits: int) -> None:
    best = optimize.minimize_scalar(lambda step: lost(step, bits), bounds=(0.01, 2), method="bounded").x
    assert grid.GAUSSIAN[bits] == pytest.approx(best, abs=2e-4)


@pytest.mark.parametrize("bits", [6, 7, 8])
def test_steps_of_more_bits_are_those_that_lose_least(bits: int) -> None:
    x = stats.norm.ppf((np.arange(400_000) + 0.5) / 400_000)

    def error(step: float) -> float:
        most = 2 ** (bits - 1)
        code = np.clip(np.floor(x / step), -most, most - 1)
        return float(np.mean(((code + 0.5) * step - x) ** 2))

    assert (
        error(grid.GAUSSIAN[bits]) <= 1.003 * optimize.minimize_scalar(error, bounds=(0.01, 0.2), method="bounded").fun
    )


@given(SEEDS, BITS)
@settings(deadline=None, max_examples=40)
def test_a_row_on_a_grid_gives_its_step_and_codes_again(seed: int, bits: int) -> None:
    rows_RL, step_R = on_grid(seed, bits)
    found_R = grid.steps(rows_RL, bits)
    assert grid.nearest(rows_RL, found_R, bits).equal(rows_RL)
    assert found_R.equal(step_R), "the smallest value is half a step"
    code_RL = grid.codes(rows_RL, found_R, bits)
    assert grid.values(code_RL, found_R).equal(rows_RL)
    assert code_RL.min() >= -(2 ** (bits - 1)) and code_RL.max() < 2 ** (bits - 1)


@given(SEEDS, BITS)
@settings(deadline=None, max_examples=30)
def test_rounding_twice_is_rounding_once(seed: int, bits: int) -> None:
    once = grid.rounded(theta(seed), LAYOUT, bits)
    assert grid.rounded(once, LAYOUT, bits).equal(once)
    assert once[:, 24:32].equal(theta(seed)[:, 24:32]), "no biases, no variances"
    for entry in grid.matrices(LAYOUT):
        for row in grid.rows(once, entry).flatten(0, 1):
            assert len(set(row.tolist())) <= 2**bits


@given(SEEDS, BITS)
@settings(deadline=None, max_examples=20)
def test_what_the_loss_sees_is_on_a_grid_that_is_found_again(seed: int, bits: int) -> None:
    rows_MRL = grid.rows(theta(seed), LAYOUT.entries[0])
    seen_MRL = grid.straight_through(rows_MRL, bits)
    assert grid.nearest(seen_MRL, grid.steps(seen_MRL, bits), bits).equal(seen_MRL)


@given(SEEDS, st.integers(2, 4))
@settings(deadline=None, max_examples=10)
def test_no_other_step_loses_much_less(seed: int, bits: int) -> None:
    rows_RL = theta(seed)

    def error(step: torch.Tensor) -> torch.Tensor:
        return (grid.nearest(rows_RL, step, bits) - rows_RL).square().sum(dim=1)

    comb = torch.stack([error(torch.full((3,), step)) for step in np.linspace(0.02, 4, 800, dtype=np.float32)])
    assert (error(grid.steps(rows_RL, bits)) <= 1.03 * comb.amin(dim=0)).all()


def test_a_zero_is_a_weight_that_was_cut_and_stays() -> None:
    own = theta(0)
    own[:, :6] = 0  # a whole row
    own[0, 7] = 0
    for few in (grid.rounded(own, LAYOUT, 2), grid.straight_through(own[:, :24].unflatten(1, (4, 6)), 2).flatten(1)):
        assert (few[:, :24] == 0).equal(own[:, :24] == 0)
    plain = grid.gaussian(own[:1, 6:12].unflatten(1, (1, 6)), 2)
    kept = own[:1, [6, 8, 9, 10, 11]].double()
    torch.testing.assert_close(plain[0, 0], grid.storable(0.9957 * kept.square().mean().sqrt()).float())


def test_the_gradient_passes_as_if_nothing_were_rounded() -> None:
    rows_RL = theta(3)[:, :24].clone().requires_grad_()
    weight_RL = torch.randn(3, 24, generator=torch.Generator().manual_seed(1))
    (grid.straight_through(rows_RL, 2) * weight_RL).sum().backward()
    assert rows_RL.grad.equal(weight_RL)

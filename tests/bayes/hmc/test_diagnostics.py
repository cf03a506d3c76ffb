"""Diagnostics of chains: against arviz's numbers, an implementation by loops, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from torch import Tensor

from pdiff_plugins.bayes.hmc import diagnostics

Rows = NDArray[np.float64]


def autoregressive(chains: int, draws: int, phi: float, seed: int = 0) -> Tensor:
    """Return stationary chains x_t = phi x_(t-1) + noise, `[chains, draws]`."""
    noise = torch.randn(chains, draws, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    noise[:, 0] /= math.sqrt(1 - phi**2)
    rows = [noise[:, 0]]
    for step in range(1, draws):
        rows.append(phi * rows[-1] + noise[:, step])
    return torch.stack(rows, dim=1)


def rhat(x_CS: Tensor) -> float:
    return float(diagnostics.rhat(x_CS[..., None]))


def ess(x_CS: Tensor) -> float:
    return float(diagnostics.ess(x_CS[..., None]))


def test_values_of_arviz() -> None:
    t = np.arange(20)
    x_CS = torch.from_numpy(np.stack([np.sin(1.7 * t * (chain + 1)) + 0.05 * chain * t for chain in range(3)]))
    # arviz-stats 0.8.0: rhat(x, method="rank") and ess(x, method="bulk")
    assert (rhat(x_CS), ess(x_CS)) == pytest.approx((1.1732650064, 23.4212538186), abs=1e-9)


def scores_by_scipy(rows: Rows) -> Rows:
    scores: Rows = norm.ppf((rankdata(rows, method="average") - 3 / 8) / (rows.size + 1 / 4)).reshape(rows.shape)
    return scores


def rhat_by_loops(halves: Rows) -> float:
    values = []
    for rows in (halves, abs(halves - np.median(halves))):
        z = scores_by_scipy(rows)
        within = np.mean([np.var(row, ddof=1) for row in z])
        between = np.var([np.mean(row) for row in z], ddof=1)
        values.append(math.sqrt((within * (z.shape[1] - 1) / z.shape[1] + between) / within))
    return max(values)


def ess_by_loops(halves: Rows) -> float:
    z = scores_by_scipy(halves)
    chains, draws = z.shape
    within = np.mean([np.var(row, ddof=1) for row in z])
    whole = within * (draws - 1) / draws + np.var(z.mean(axis=1), ddof=1)

    def rho(lag: int) -> float:
        products = [(row[: draws - lag] - row.mean()) @ (row[lag:] - row.mean()) / draws for row in z]
        return 1.0 if lag == 0 else float(1 - (within - np.mean(products)) / whole)

    total, lag, least = -1.0, 0, math.inf
    while rho(lag) + rho(lag + 1) > 0 and lag + 3 <= draws - 2:
        least = min(least, rho(lag) + rho(lag + 1))
        total, lag = total + 2 * least, lag + 2
    total += max(rho(lag), 0.0)
    return float(chains * draws) / max(total, 1 / math.log10(chains * draws))


@pytest.mark.parametrize("phi", [-0.6, 0.0, 0.9])
def test_an_implementation_by_loops(phi: float) -> None:
    x_CS = autoregressive(3, 40, phi)
    if phi == 0.0:
        x_CS = x_CS.round()  # equal draws share their ranks
    halves = np.concatenate([x_CS[:, :20].numpy(), x_CS[:, 20:].numpy()])
    assert rhat(x_CS) == pytest.approx(rhat_by_loops(halves), rel=1e-9)
    assert ess(x_CS) == pytest.approx(ess_by_loops(halves), rel=1e-9)


@pytest.mark.parametrize("phi", [-0.3, 0.0, 0.5, 0.8])
def test_the_size_of_autoregressive_chains_is_known(phi: float) -> None:
    x_CS = autoregressive(8, 2000, phi)
    assert ess(x_CS) == pytest.approx(16_000 * (1 - phi) / (1 + phi), rel=0.1)
    assert 0.999 < rhat(x_CS) < 1.01


def test_chains_that_differ_in_place_or_spread_are_told() -> None:
    x_CS = autoregressive(4, 500, 0.0)
    assert rhat(x_CS + torch.arange(4.0)[:, None]) > 1.3
    assert rhat(x_CS * torch.tensor([1.0, 1.0, 1.0, 4.0])[:, None]) > 1.05  # by the distances from the median alone
    assert rhat(x_CS[:1] + torch.linspace(0, 3, 500)) > 1.3  # one that drifts
    assert rhat(x_CS.exp()) == pytest.approx(rhat(x_CS), abs=0.005)  # ranks are the same


def test_quantities_are_taken_each_by_itself_and_those_that_stand_still() -> None:
    x_CS = autoregressive(4, 100, 0.5)
    stuck = torch.arange(4.0, dtype=torch.float64)[:, None].expand(4, 100)
    rhat_Q, ess_Q = diagnostics.both(torch.stack([x_CS, torch.ones_like(x_CS), stuck], dim=2))
    assert rhat_Q.tolist() == [pytest.approx(rhat(x_CS)), 1.0, math.inf]
    assert ess_Q[:2].tolist() == [pytest.approx(ess(x_CS)), 400.0] and ess_Q[2] < 10


def test_few_draws_say_nothing() -> None:
    with pytest.raises(ValueError, match=r"3 draws of a chain say nothing"):
        rhat(torch.zeros(2, 3))

"""The sampler on targets whose moments are known, and what the integrator must keep."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from pdiff_plugins.bayes.hmc import diagnostics
from pdiff_plugins.bayes.hmc.sampler import Chains, Potential, StepSize, leapfrog, transition


def gaussian(mean_D: Tensor, covariance_DD: Tensor) -> Potential:
    precision_DD = torch.linalg.inv(covariance_DD)

    def potential(x_CD: Tensor) -> tuple[Tensor, Tensor]:
        gradient_CD = (x_CD - mean_D) @ precision_DD
        return ((x_CD - mean_D) * gradient_CD).sum(dim=1) / 2, gradient_CD

    return potential


def quartic(x_CD: Tensor) -> tuple[Tensor, Tensor]:
    return x_CD.pow(4).sum(dim=1) / 4 + x_CD.cos().sum(dim=1), x_CD.pow(3) - x_CD.sin()


def begin(chains: int, dim: int) -> tuple[Chains, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_CD, momentum_CD = torch.randn(2, chains, dim, generator=generator, dtype=torch.float64).unbind()
    return Chains.at(x_CD, quartic), momentum_CD


def energy(chains: Chains, momentum_CD: Tensor) -> Tensor:
    return chains.potential_C + momentum_CD.square().sum(dim=1) / 2


def test_the_error_of_the_energy_falls_with_the_square_of_the_step() -> None:
    start, momentum_CD = begin(50, 3)
    errors = []
    for halvings in range(4):
        end, final_CD = leapfrog(start, momentum_CD, 0.1 / 2**halvings, 20 * 2**halvings, quartic)
        errors.append(float((energy(end, final_CD) - energy(start, momentum_CD)).abs().mean()))
    assert all(math.log2(a / b) == pytest.approx(2, abs=0.15) for a, b in pairwise(errors))


def test_trajectories_run_back_and_keep_volume() -> None:
    start, momentum_CD = begin(5, 3)
    end, final_CD = leapfrog(start, momentum_CD, 0.1, 30, quartic)
    back, first_CD = leapfrog(end, -final_CD, 0.1, 30, quartic)
    torch.testing.assert_close(back.x_CD, start.x_CD)
    torch.testing.assert_close(first_CD, -momentum_CD)

    def moved(both_6: Tensor) -> Tensor:
        chains, final_1D = leapfrog(Chains.at(both_6[None, :3], quartic), both_6[None, 3:], 0.1, 30, quartic)
        return torch.cat([chains.x_CD[0], final_1D[0]])

    jacobian = torch.autograd.functional.jacobian(moved, torch.cat([start.x_CD[0], momentum_CD[0]]))
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-9)


def draws_of(potential: Potential, x_CD: Tensor, step: float, most: int, count: int) -> tuple[Tensor, float]:
    """Return (draws `[C, count, D]`, their acceptance) by trajectories of 1 to `most` steps in turn."""
    chains, rows, accepted = Chains.at(x_CD, potential), [], 0.0
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        chains, accept_C, diverged_C = transition(chains, step, 1 + number % most, potential, generator)
        assert not diverged_C.any()
        rows.append(chains.x_CD)
        accepted += float(accept_C.mean()) / count
    return torch.stack(rows, dim=1), accepted


@pytest.mark.parametrize(("step", "most"), [(0.3, 6), (0.9, 3)])
def test_moments_of_a_gaussian(step: float, most: int) -> None:
    mean_D = torch.tensor([1.0, -2.0, 0.5])
    covariance_DD = torch.tensor([[1.0, 0.6, 0.0], [0.6, 2.0, -0.3], [0.0, -0.3, 0.5]])
    x_CSD, accept = draws_of(gaussian(mean_D, covariance_DD), torch.zeros(40, 3), step, most, 400)
    assert accept < 0.98 if step > 0.5 else accept > 0.9  # so that rejections have a part in it
    kept_MD = x_CSD[:, 50:].flatten(0, 1)
    error_D = (covariance_DD.diagonal() / diagnostics.ess(x_CSD[:, 50:])).sqrt()
    assert ((kept_MD.mean(dim=0) - mean_D).abs() < 4 * error_D).all()
    assert torch.allclose(kept_MD.T.cov(), covariance_DD, atol=0.08)
    assert diagnostics.rhat(x_CSD[:, 50:]).max() < 1.02


def test_steps_that_are_far_too_large_are_told_and_not_taken() -> None:
    start = Chains.at(torch.ones(3, 2), quartic)
    moved, accept_C, diverged_C = transition(start, 50.0, 20, quartic, torch.Generator().manual_seed(0))
    assert diverged_C.all() and accept_C.eq(0).all() and moved.x_CD.equal(start.x_CD)
    assert moved.gradient_CD.equal(start.gradient_CD) and moved.potential_C.equal(start.potential_C)


@pytest.mark.parametrize("first", [1e-3, 10.0])
def test_the_step_size_comes_to_the_acceptance_asked_for(first: float) -> None:
    potential = gaussian(torch.zeros(20), torch.linspace(0.3, 2, 20).diag())
    chains = Chains.at(torch.randn(8, 20, generator=torch.Generator().manual_seed(1)), potential)
    size, accepted = StepSize.begin(first, 0.7), list[float]()
    for number in range(500):
        step = size.now if number < 300 else size.mean
        generator = torch.Generator().manual_seed(number)
        chains, accept_C, _ = transition(chains, step, 1 + number % 4, potential, generator)
        if number < 300:
            size.update(float(accept_C.mean()))
        else:
            accepted.append(float(accept_C.mean()))
    assert sum(accepted) / len(accepted) == pytest.approx(0.7, abs=0.07)

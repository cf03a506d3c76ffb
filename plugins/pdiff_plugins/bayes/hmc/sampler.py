"""Hamiltonian Monte Carlo of several chains at once, and the adaptation of their step size.

Neal 2011, "MCMC using Hamiltonian dynamics" (arXiv 1206.1901), sections 2.3 and 3; Hoffman and Gelman 2014, "The
No-U-Turn Sampler" (arXiv 1111.4246), section 3.2. C chains, D coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Potential = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x_CD -> (minus the log-density of each, up to a constant, `[C]`; its gradient `[C, D]`)."""
DIVERGED = 1000.0
"""Error of the energy from which a trajectory counts as divergent, as in Stan."""
GAMMA, OFFSET, KAPPA = 0.05, 10, 0.75
"""gamma, t_0 and kappa of dual averaging, as in Hoffman and Gelman 2014."""


@dataclass
class Chains:
    """Where chains are: their points, their potentials and gradients there."""

    x_CD: Tensor
    potential_C: Tensor
    gradient_CD: Tensor

    @classmethod
    def at(cls, x_CD: Tensor, potential: Potential) -> Chains:
        """Return chains that begin at these points."""
        return cls(x_CD, *potential(x_CD))


def leapfrog(
    start: Chains, momentum_CD: Tensor, step: float, steps: int, potential: Potential
) -> tuple[Chains, Tensor]:
    """Return where chains, and their momenta, are after so many steps of the leapfrog integrator."""
    x_CD, potential_C, gradient_CD = start.x_CD, start.potential_C, start.gradient_CD
    momentum_CD = momentum_CD.sub(gradient_CD, alpha=step / 2)
    for left in range(steps - 1, -1, -1):
        x_CD = x_CD.add(momentum_CD, alpha=step)
        potential_C, gradient_CD = potential(x_CD)
        momentum_CD = momentum_CD.sub(gradient_CD, alpha=step if left else step / 2)
    return Chains(x_CD, potential_C, gradient_CD), momentum_CD


def transition(
    chains: Chains, step: float, steps: int, potential: Potential, generator: torch.Generator
) -> tuple[Chains, Tensor, Tensor]:
    """Return (chains after one trajectory each, the probability of acceptance `[C]`, which diverged `[C]`)."""
    shape, device = chains.x_CD.shape, chains.x_CD.device
    momentum_CD = torch.randn(shape, generator=generator).to(device)
    uniform_C = torch.rand(shape[0], generator=generator, dtype=torch.float64).to(device)
    end, final_CD = leapfrog(chains, momentum_CD, step, steps, potential)
    error_C = _energy(end, final_CD) - _energy(chains, momentum_CD)
    error_C = torch.where(error_C.isfinite(), error_C, torch.inf)
    accept_C = (-error_C).exp().clamp_max(1.0)
    taken_C = uniform_C < accept_C
    rows_C1 = taken_C[:, None]
    moved = Chains(
        torch.where(rows_C1, end.x_CD, chains.x_CD),
        torch.where(taken_C, end.potential_C, chains.potential_C),
        torch.where(rows_C1, end.gradient_CD, chains.gradient_CD),
    )
    return moved, accept_C, error_C > DIVERGED


def _energy(chains: Chains, momentum_CD: Tensor) -> Tensor:
    return chains.potential_C.double() + momentum_CD.double().square().sum(dim=1) / 2


@dataclass
class StepSize:
    """Dual averaging of the logarithm of a step size, so that acceptance comes to its target.

    Equation 6 of Hoffman and Gelman 2014, and its constants.
    """

    centre: float
    """mu: what steps are drawn to, log(10 * the first one)."""
    target: float
    count: int = 0
    lack: float = 0.0
    """H-bar: the mean of what acceptance lacks."""
    log_step: float = 0.0
    log_mean: float = 0.0

    @classmethod
    def begin(cls, step: float, target: float) -> StepSize:
        """Return the state that begins with this step size."""
        return cls(math.log(10 * step), target, log_step=math.log(step), log_mean=math.log(step))

    @property
    def now(self) -> float:
        """What the next transition of the warm-up is made with."""
        return math.exp(self.log_step)

    @property
    def mean(self) -> float:
        """What comes after the warm-up."""
        return math.exp(self.log_mean)

    def update(self, accept: float) -> None:
        """Take the mean probability of acceptance of a transition with the current step size."""
        self.count += 1
        weight = 1 / (self.count + OFFSET)
        self.lack += weight * (self.target - accept - self.lack)
        self.log_step = self.centre - math.sqrt(self.count) / GAMMA * self.lack
        share = self.count**-KAPPA
        self.log_mean += share * (self.log_step - self.log_mean)

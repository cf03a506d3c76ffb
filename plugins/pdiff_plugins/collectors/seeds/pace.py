"""Runs of one block that differ in their rate, decay and length, beside an optimizer that all of them share.

A step of adamw, adam and sgd is linear in the rate, so a run's own step is a share of that at the rate of the block.
Decay is then the run's own, too: decoupled for adamw, else a part of the gradient. Shapes: G networks, T parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from pdiff.training.optimizers import SCHEDULES

if TYPE_CHECKING:
    from pdiff_plugins.collectors.seeds.options import TrainedTogether


class Own(NamedTuple):
    """What a run has of its own."""

    lr: float
    weight_decay: float
    steps: int
    others: tuple[float, ...] = ()
    """In what else runs differ, which are not each other's snapshots."""


class Pace:
    """The steps of a block's runs. `options.lr` is the rate of the optimizer, whose weight decay is 0."""

    def __init__(self, own: Sequence[Own], options: TrainedTogether, device: torch.device):
        self.own, self.lr, self.decoupled = list(own), options.lr, options.optimizer == "adamw"
        self.factors = [SCHEDULES[options.schedule](one.steps) for one in own]
        self.steps_G = torch.tensor([one.steps for one in own], dtype=torch.float64)
        self.share_G1, self.decay_G1 = torch.zeros(2, len(own), 1, device=device)
        self.trained_G = torch.zeros(len(own), dtype=torch.bool, device=device)

    def at(self, step: int) -> None:
        """Take the rates of a step."""
        trained = [step < one.steps for one in self.own]
        rates = [
            on * one.lr * factor(min(step, one.steps))
            for on, one, factor in zip(trained, self.own, self.factors, strict=True)
        ]
        decays = [
            one.weight_decay * (rate if self.decoupled else on)
            for on, one, rate in zip(trained, self.own, rates, strict=True)
        ]
        self.trained_G.copy_(torch.tensor(trained))
        self.share_G1.copy_(torch.tensor(rates, dtype=torch.float64)[:, None] / self.lr)
        self.decay_G1.copy_(torch.tensor(decays, dtype=torch.float64)[:, None])

    def step(self, theta_GT: Tensor, optimizer: Optimizer) -> None:
        """Move the runs by their gradients; those that are over stay."""
        assert theta_GT.grad is not None
        before_GT = theta_GT.clone()
        if not self.decoupled:
            theta_GT.grad.addcmul_(self.decay_G1, before_GT)
        optimizer.step()
        moved_GT = before_GT + self.share_G1 * (theta_GT - before_GT)
        if self.decoupled:
            moved_GT = moved_GT - self.decay_G1 * before_GT
        theta_GT.copy_(torch.where(self.trained_G[:, None], moved_GT, before_GT))

    def kept(self, before: Tensor, after: Tensor) -> Tensor:
        """Return a buffer `[G, ...]` after a step: as before in runs that are over."""
        return torch.where(self.trained_G.view(-1, *[1] * (before.dim() - 1)), after, before)

    def counted(self, begin: int, end: int) -> Tensor:
        """Return how many of these steps each run was trained, `[G]`."""
        return self.steps_G.clamp(max=end) - self.steps_G.clamp(max=begin)

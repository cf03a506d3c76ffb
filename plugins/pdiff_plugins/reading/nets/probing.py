"""Learnt inputs, and a perceptron that reads what networks say of them. B networks, P probes, O numbers said."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

CODE, HIDDEN = 8, 64
"""Of the linear generator: numbers of a probe's code, and those between."""
Says = Callable[[Tensor, Tensor], Tensor]
"""What networks `[B, D]` say of inputs `[P, ...]`, `[B, P, O]`."""


class Generated(nn.Module):
    """Probes that two linear maps make of short codes: less free than probes themselves, they suit more networks."""

    def __init__(self, count: int, shape: tuple[int, ...]):
        super().__init__()
        self.shape, self.codes = shape, nn.Parameter(torch.randn(count, CODE))
        self.maps = nn.Sequential(nn.Linear(CODE, HIDDEN), nn.Linear(HIDDEN, math.prod(shape)))

    def forward(self) -> Tensor:
        probes: Tensor = self.maps(self.codes).unflatten(1, self.shape)
        return probes


class Free(nn.Module):
    """Probes that are parameters themselves."""

    def __init__(self, start: Tensor):
        super().__init__()
        self.probes = nn.Parameter(start.clone())

    def forward(self) -> Tensor:
        return self.probes


class Prober(nn.Module):
    """Sends probes through networks, and reads what comes out by a perceptron of two hidden layers."""

    def __init__(self, probes: nn.Module, says: Says, said: int, width: int):
        """`said`: numbers that a network says of all probes."""
        super().__init__()
        self.probes, self.says = probes, says
        self.norm = nn.BatchNorm1d(said)
        self.perceptron = nn.Sequential(
            nn.Linear(said, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1)
        )

    def forward(self, theta_BD: Tensor) -> Tensor:
        """Return `[B]`."""
        return self.hear(self.says(theta_BD, self.probes()))

    def hear(self, said_BPO: Tensor) -> Tensor:
        """Return `[B]` from what networks say of the probes."""
        out_B1: Tensor = self.perceptron(self.norm(said_BPO.flatten(1)))
        return out_B1[:, 0]

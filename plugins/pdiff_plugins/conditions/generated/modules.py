"""Modules from conditions to networks, in coordinates without bounds (see `Layout.from_free`).

B networks, C condition, D selected parameters, F condition of one class, K directions, R numbers of a row of the last
linear layer, S shifted biases, W ways (outputs).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

LEAST = 1e-6
"""Deviation of a condition's number below which it never changes."""


class Conditioned(nn.Module):
    """A start, the scale of what is added to it, and standardised conditions."""

    start_D: Tensor
    scale_D: Tensor
    """0 for what stays the start's."""
    mean_C: Tensor
    std_C: Tensor

    def __init__(self, condition_dim: int, dim: int):
        super().__init__()
        for name, value in (("start_D", torch.zeros(dim)), ("scale_D", torch.ones(dim))):
            self.register_buffer(name, value)
        for name, value in (("mean_C", torch.zeros(condition_dim)), ("std_C", torch.ones(condition_dim))):
            self.register_buffer(name, value)

    def begin(self, start_D: Tensor, scale_D: Tensor, condition_NC: Tensor) -> None:
        """Set what the zoo says."""
        std_C, mean_C = torch.std_mean(condition_NC.flatten(0, -2), dim=0, correction=0)
        std_C = torch.where(std_C > LEAST, std_C, 1.0)
        for buffer, value in zip(self.buffers(), (start_D, scale_D, mean_C, std_C), strict=False):
            buffer.copy_(value)

    def standard(self, condition_BC: Tensor) -> Tensor:
        return (condition_BC - self.mean_C) / self.std_C


def perceptron(inputs: int, width: int, depth: int) -> nn.Sequential:
    """Return hidden layers with SiLU."""
    sizes = [inputs, *[width] * depth]
    layers = [(nn.Linear(before, after), nn.SiLU()) for before, after in itertools.pairwise(sizes)]
    return nn.Sequential(*[layer for pair in layers for layer in pair])


def silent(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer that begins with zeros."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def shared(module: Conditioned, learnt_D: Tensor, count: int) -> Tensor:
    """Return `count` times the start and what all tasks learn beside it."""
    return (module.start_D + (module.scale_D > 0) * learnt_D).expand(count, -1)


class Whole(Conditioned):
    """The whole selection from the condition: start + scale * (what a perceptron says)."""

    def __init__(self, condition_dim: int, dim: int, width: int, depth: int):
        super().__init__(condition_dim, dim)
        self.hidden, self.out = perceptron(condition_dim, width, depth), silent(width if depth else condition_dim, dim)

    def forward(self, condition_BC: Tensor) -> Tensor:
        said_BD = self.out(self.hidden(self.standard(condition_BC)))
        return self.start_D + self.scale_D * said_BD


class InBasis(Conditioned):
    """The same within a span of directions `[K, D]`, kept as they are or learnt too."""

    def __init__(self, condition_dim: int, dim: int, width: int, depth: int, rank: int, learned: bool):
        super().__init__(condition_dim, dim)
        self.hidden, self.out = perceptron(condition_dim, width, depth), silent(width if depth else condition_dim, rank)
        self.basis_KD = nn.Parameter(torch.zeros(rank, dim), requires_grad=learned)

    def forward(self, condition_BC: Tensor) -> Tensor:
        said_BK = self.out(self.hidden(self.standard(condition_BC)))
        return self.start_D + self.scale_D * (said_BK @ self.basis_KD)


class PerClass(Conditioned):
    """Rows of the last linear layer, each from its class's part of the condition and the mean of all parts.

    All other entries are shared by all tasks, and learnt. Equivariant to the order of classes.
    """

    columns_WR: Tensor

    def __init__(self, condition_dim: int, dim: int, width: int, depth: int, columns_WR: Tensor):
        """`columns_WR`: of each class's row, its bias the last where there is one."""
        ways, row = columns_WR.shape
        super().__init__(condition_dim // ways, dim)
        self.ways = ways
        self.register_buffer("columns_WR", columns_WR)
        inputs = 2 * (condition_dim // ways)
        self.hidden, self.out = perceptron(inputs, width, depth), silent(width if depth else inputs, row)
        self.shared_D = nn.Parameter(torch.zeros(dim))

    def begin(self, start_D: Tensor, scale_D: Tensor, condition_NC: Tensor) -> None:
        start_D = start_D.clone()
        start_D[self.columns_WR] = start_D[self.columns_WR].mean(dim=0)
        super().begin(start_D, scale_D, condition_NC.unflatten(1, (self.ways, -1)))

    def forward(self, condition_BC: Tensor) -> Tensor:
        part_BWF = self.standard(condition_BC.unflatten(1, (self.ways, -1)))
        both_BWF = torch.cat([part_BWF, part_BWF.mean(dim=1, keepdim=True).expand_as(part_BWF)], dim=2)
        said_BWR = self.scale_D[self.columns_WR] * self.out(self.hidden(both_BWF))
        row_BWR = self.start_D[self.columns_WR] + said_BWR
        shared_BD = shared(self, self.shared_D, len(part_BWF))
        return shared_BD.index_copy(1, self.columns_WR.flatten(), row_BWR.flatten(1))


class Shifts(Conditioned):
    """Shared weights, and biases with a linear map of the condition added."""

    columns_S: Tensor

    def __init__(self, condition_dim: int, dim: int, columns_S: Tensor):
        """`columns_S`: of the biases that are shifted."""
        super().__init__(condition_dim, dim)
        self.register_buffer("columns_S", columns_S)
        self.shared_D, self.shift = nn.Parameter(torch.zeros(dim)), silent(condition_dim, len(columns_S))

    def forward(self, condition_BC: Tensor) -> Tensor:
        shared_BD = shared(self, self.shared_D, len(condition_BC))
        return shared_BD.index_add(1, self.columns_S, self.shift(self.standard(condition_BC)))

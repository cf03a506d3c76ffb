"""What a function from conditions to networks learns by: the tasks' loss, or the weights of the zoo.

G networks, B examples of each, D selected parameters, T those of them that a loss can teach.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from pdiff.bench import Bench
from pdiff.components import Family
from pdiff.context import Context
from pdiff.data import Batch, each
from pdiff.zoo import Zoo, about
from pdiff_plugins.collectors.tasks.joint import TaskLosses
from pdiff_plugins.maths.normalise import Normaliser


class Teacher(Protocol):
    """Says how good networks are, each for its own condition."""

    taught_D: Tensor
    """Which parameters it has something to say of, bool."""

    def draw(self, rows_G: Tensor, generator: torch.Generator) -> Any:
        """Return what networks for the conditions of these rows of the zoo are judged by: tensors, on the CPU."""
        ...

    def loss(self, x_GD: Tensor, drawn: Any) -> Tensor:
        """Return the mean loss of networks in coordinates without bounds, which can be differentiated."""
        ...


class Weights:
    """Squared error to the zoo's own networks, in units of each tensor's spread between them."""

    def __init__(self, zoo: Zoo, normaliser: Normaliser, ctx: Context):
        self.zoo, self.normaliser, self.scale_D = zoo, normaliser, normaliser.scale.to(ctx.device)
        self.taught_D = torch.ones(zoo.layout.dim, dtype=torch.bool)

    def draw(self, rows_G: Tensor, generator: torch.Generator) -> Tensor:
        return self.normaliser.free(self.zoo.theta_ND[rows_G])

    def loss(self, x_GD: Tensor, drawn: Tensor) -> Tensor:
        return ((x_GD - drawn) / self.scale_D).square().mean()


class Tasks:
    """The tasks' loss on training examples, each network on its own task's.

    Networks are in eval mode, as they will be: running statistics, which no loss teaches, are those of the start.
    """

    def __init__(self, zoo: Zoo, family: Family, batch_size: int, augment: bool, bench: Bench, ctx: Context):
        self.layout, self.batch_size, self.augment = zoo.layout, batch_size, augment
        self.losses = TaskLosses(bench, ctx)
        train = bench.examples("train")
        self.splits = [family.asked(train, about(row)) for row in zoo.rows]
        self.taught_D = torch.zeros(zoo.layout.dim, dtype=torch.bool)
        self.taught_D[self.losses.columns_T.cpu()] = True

    def draw(self, rows_G: Tensor, generator: torch.Generator) -> tuple[Any, ...]:
        batches = []
        for split in (self.splits[row] for row in rows_G.tolist()):
            index_B = torch.randint(len(split), (self.batch_size,), generator=generator)
            batches.append(tuple(split.batch(index_B, torch.device("cpu"), generator if self.augment else None)))
        drawn: tuple[Any, ...] = each(lambda *tensors: torch.stack(tensors), *batches)
        return drawn

    def loss(self, x_GD: Tensor, drawn: tuple[Any, ...]) -> Tensor:
        return self.losses(self.layout.from_free(x_GD), Batch(*drawn)).mean()

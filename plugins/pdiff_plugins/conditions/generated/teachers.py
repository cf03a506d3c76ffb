"""What a function from conditions to networks learns by: the tasks' loss, or the weights of the zoo.

G networks, B examples of each, D selected parameters, T those of them that a loss can teach, N checkpoints.
"""

from __future__ import annotations

import copy
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.components import Family
from pdiff.context import Context
from pdiff.data import Batch, each, leaves
from pdiff.errors import UserError
from pdiff.zoo import Zoo, about
from pdiff_plugins.collectors.seeds.network import Network, Step
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

    Networks are as they are evaluated: running statistics, which no loss teaches, are those of the start.
    """

    def __init__(
        self, zoo: Zoo, start_D: Tensor, family: Family, batch_size: int, augment: bool, bench: Bench, ctx: Context
    ):
        self.layout, self.objective, self.ctx = zoo.layout, bench.objective, ctx
        self.batch_size, self.augment, train = batch_size, augment, bench.examples("train")
        self.splits = [family.asked(train, about(row)) for row in zoo.rows]
        model = copy.deepcopy(self.objective.model).to(ctx.device).eval()
        model.load_state_dict(zoo.state_dict(start_D))
        self.network, self.buffers = Network(model, zoo.layout, family, ctx), list(model.buffers())
        columns = {self.network.owner[entry.key]: entry.columns for entry in zoo.layout.entries}
        taught = [torch.arange(zoo.layout.dim)[columns[name]] for name in self.network.shapes]
        self.columns_T = torch.cat(taught).to(ctx.device)
        self.taught_D = torch.zeros(zoo.layout.dim, dtype=torch.bool).index_fill(0, torch.cat(taught), True)
        self.step: Step | None = None
        self.joint = True

    def draw(self, rows_G: Tensor, generator: torch.Generator) -> tuple[Any, ...]:
        batches = []
        for split in (self.splits[row] for row in rows_G.tolist()):
            index_B = torch.randint(len(split), (self.batch_size,), generator=generator)
            batches.append(tuple(split.batch(index_B, torch.device("cpu"), generator if self.augment else None)))
        stacked: tuple[Any, ...] = each(lambda *tensors: torch.stack(tensors), *batches)
        return stacked

    def loss(self, x_GD: Tensor, drawn: tuple[Any, ...]) -> Tensor:
        theta_GD, batch = self.layout.from_free(x_GD), Batch(*drawn)
        theta_GT = theta_GD[:, self.columns_T]
        if self.joint and self.step is None:
            self._trace(theta_GT.detach(), batch)
        if self.step is None:
            return self._one_by_one(theta_GD, batch)
        with torch.no_grad():
            gradient_GT, losses_G, *_ = self.step(theta_GT, *leaves(drawn), *self._stacked(len(theta_GT)))
        loss: Tensor = Known.apply(theta_GT, gradient_GT / len(theta_GT), losses_G.mean())
        return loss

    def _trace(self, theta_GT: Tensor, batch: Batch) -> None:
        try:
            self.step = self.network.trace(batch, theta_GT, self._stacked(len(theta_GT)))
        except UserError as error:
            self.joint = False
            self.ctx.progress.say(f"{error}: here they are computed one by one, which takes longer")

    def _stacked(self, count: int) -> list[Tensor]:
        return [buffer.expand(count, *buffer.shape) for buffer in self.buffers]

    def _one_by_one(self, theta_GD: Tensor, batch: Batch) -> Tensor:
        losses = []
        for theta_1D, own in zip(theta_GD.split(1), _apart(batch), strict=True):
            losses.append(self.objective.losses(theta_1D, own))
        return torch.cat(losses).mean()


def _apart(batch: Batch) -> list[Batch]:
    """Return each network's own batch."""
    return [
        Batch(*each(lambda tensor, number=number: tensor[number], tuple(batch))) for number in range(len(batch.targets))
    ]


class Known(torch.autograd.Function):
    """A value whose gradient is known already."""

    @staticmethod
    def forward(ctx: Any, theta_GT: Tensor, gradient_GT: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(gradient_GT)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return slope * ctx.saved_tensors[0], None, None

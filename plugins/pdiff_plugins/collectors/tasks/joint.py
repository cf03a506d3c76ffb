"""The losses of many networks, each on a task of its own, as one function with its gradient.

Shapes: G networks, D selected and T trained parameters, B batch.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pdiff.data import Batch
from pdiff_plugins.collectors.seeds.network import Network, Step

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.context import Context


class TaskLosses:
    """Losses on training examples of networks in eval mode, each on its own task of a family.

    `losses(theta_GD, batch).mean().backward()` is a step of a hypernetwork.
    """

    def __init__(self, bench: Bench, ctx: Context):
        """Raises UserError where the selection holds nothing to train, or networks cannot be computed together."""
        objective = bench.objective
        self.network = Network(copy.deepcopy(objective.model).eval(), objective.layout, objective.task, ctx)
        self.steps: dict[tuple[int, ...], Step] = {}
        self.places = {self.network.owner[entry.key]: entry.columns for entry in objective.layout.entries}
        """The columns of theta_D in which parameters and buffers stand."""
        columns = torch.arange(objective.layout.dim)
        self.columns_T = torch.cat([columns[self.places[name]] for name in self.network.shapes]).to(ctx.device)

    def __call__(self, theta_GD: Tensor, batch: Batch) -> Tensor:
        """Return the loss of network g on `batch[g]`, `[G]`; it can be differentiated once by theta_GD."""
        losses_G: Tensor = _Losses.apply(theta_GD, self, batch)
        return losses_G

    def gradients(self, theta_GD: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return each network's gradient of its own loss, `[G, D]` (0 for running statistics), and the losses `[G]`."""
        theta_GD = theta_GD.detach()
        theta_GT, buffers = theta_GD[:, self.columns_T].contiguous(), self._buffers(theta_GD)
        tensors = pytree.tree_leaves(batch)
        key = (*batch.targets.shape, *(values.stride(0) for values in tensors))  # what all have alike is computed once
        if key not in self.steps:
            self.steps[key] = self.network.trace(batch, theta_GT, buffers)
        gradient_GT, losses_G, *_ = self.steps[key](theta_GT, *tensors, *buffers)
        gradient_GD = torch.zeros_like(theta_GD)
        gradient_GD[:, self.columns_T] = gradient_GT
        return gradient_GD, losses_G

    def _buffers(self, theta_GD: Tensor) -> list[Tensor]:
        """Return each network's buffers: its own where they are selected, else the anchor's."""
        own, count = self.places, len(theta_GD)
        return [
            theta_GD[:, own[name]].reshape(count, *buffer.shape) if name in own else buffer.expand(count, *buffer.shape)
            for name, buffer in self.network.model.named_buffers()
        ]


class _Losses(torch.autograd.Function):
    """The losses of `TaskLosses`, whose gradient comes with them."""

    @staticmethod
    def forward(ctx: Any, theta_GD: Tensor, losses: TaskLosses, batch: Batch) -> Tensor:
        gradient_GD, losses_G = losses.gradients(theta_GD, batch)
        ctx.save_for_backward(gradient_GD)
        return losses_G

    @staticmethod
    def backward(ctx: Any, of_losses_G: Tensor) -> tuple[Tensor, None, None]:
        (gradient_GD,) = ctx.saved_tensors
        return of_losses_G[:, None] * gradient_GD, None, None

"""Objective: a task on training examples, as a function of the selected parameters that can be differentiated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pdiff.data import Batch, Split
from pdiff.zoo import Layout

if TYPE_CHECKING:
    from pdiff.components import Task

RUNNING = ("running_mean", "running_var")


class Objective:
    """Networks of a zoo on the train split; given to methods that learn from the task as well as from checkpoints."""

    def __init__(self, model: nn.Module, layout: Layout, task: Task, split: Split):
        """`model` holds the anchor; it is not changed."""
        self.model, self.layout, self.task, self.split = model, layout, task, split

    def batch(self, count: int, generator: torch.Generator, device: torch.device, augment: bool = False) -> Batch:
        """Return so many training examples, drawn at random; as they are evaluated, or with the training transform."""
        index = torch.randint(len(self.split), (count,), generator=generator)
        return self.split.batch(index, device, generator if augment else None)

    def losses(self, theta_MD: Tensor, batch: Batch) -> Tensor:
        """Return the task's loss of every network on the batch, `[M]`."""
        return torch.stack([self.task.loss(self._network(theta_D), batch) for theta_D in theta_MD])

    def log_probabilities(self, theta_MD: Tensor, inputs: Tensor) -> Tensor | None:
        """Return log-probabilities of classes `[M, B, K]`; None where the task has no classes."""
        rows = []
        for theta_D in theta_MD:
            row = self.task.log_probabilities(self._network(theta_D), inputs)
            if row is None:
                return None
            rows.append(row)
        return torch.stack(rows)

    def _network(self, theta_D: Tensor) -> Any:
        """Return the network with these parameters, in eval mode, as a function.

        Running statistics get no gradient: no loss in eval mode is differentiable by them.
        """
        self.model.eval()
        entries = {
            key: value.detach() if key.rsplit(".", 1)[-1] in RUNNING else value
            for key, value in self.layout.tensors(theta_D).items()
        }
        return lambda *arguments, **options: functional_call(self.model, entries, arguments, options)

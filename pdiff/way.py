"""How networks of a population are run on a batch; plugins know quicker ways, by the hook `choose_ways`."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pdiff.context import Context
from pdiff.networks import entry_of
from pdiff.zoo import Layout


class Predicts(Protocol):
    """What is asked of a network on a batch: a task, or something that poses as one."""

    def predict(self, model: Any, inputs: Any) -> Tensor:
        """Return small predictions `[B, ...]`."""
        ...

    def reduce(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return what is kept of predictions `[m, B, ...]`, given the targets `[B, ...]`."""
        ...


class Way(Protocol):
    """Runs `at_once` networks in one call."""

    at_once: int

    def prepare(self, inputs: Any) -> Any:
        """Do what is done once per batch, and return what `halving` needs of it."""
        ...

    def halving(self, theta_mD: Tensor, ready: Any) -> Tensor:
        """Return the predictions `[m, B, ...]` of the first networks; fewer than `at_once` where memory runs out."""
        ...


class Chooser(Protocol):
    """Finds a way for one network."""

    def choose(self, theta_MD: Tensor, inputs: Any, batches: int, ctx: Context, what: str) -> Way:
        """Return the way for `batches` batches like `inputs` `[B, ...]`; it may run some networks to find out."""
        ...


class OneAtATime:
    """One whole network after the other: a way that every network can go."""

    at_once = 1

    def __init__(self, model: nn.Module, layout: Layout, task: Predicts):
        self.model, self.layout, self.task = model, layout, task

    def choose(self, theta_MD: Tensor, inputs: Any, batches: int, ctx: Context, what: str) -> OneAtATime:
        """Return itself: there is nothing to find out."""
        return self

    def prepare(self, inputs: Any) -> Any:
        """Return the inputs as they are."""
        return inputs

    def halving(self, theta_mD: Tensor, ready: Any) -> Tensor:
        """Return the predictions `[1, B, ...]` of the first network."""
        for key, value in self.layout.tensors(theta_mD[0]).items():
            entry = entry_of(self.model, key)
            entry.data = value.to(entry.dtype)
        return torch.stack([self.task.predict(self.model, ready)])

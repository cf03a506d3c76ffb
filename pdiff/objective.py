"""Objective: a task on training examples, as a function of the selected parameters that can be differentiated."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from pdiff.data import Batch, Split
from pdiff.networks import entry_of, once
from pdiff.zoo import Layout

if TYPE_CHECKING:
    from pdiff.components.task import Task

RUNNING = ("running_mean", "running_var")


class Objective:
    """Networks of a zoo on the train split; given to methods that learn from the task as well as from checkpoints."""

    def __init__(
        self, model: nn.Module, layout: Layout, task: Task, split: Split,
        decode: Callable[[Tensor], Tensor] = lambda theta_MD: theta_MD,
    ):  # fmt: skip
        """`model` holds the anchor and is not changed; `decode` turns the vectors asked about into theta_MD."""
        self.model, self.layout, self.task, self.split, self.decode = model, layout, task, split, decode
        self.names = once(model, layout.keys)

    def through(self, decode: Callable[[Tensor], Tensor]) -> Objective:
        """Return the objective of vectors that `decode` turns into theta_MD, such as normalised ones."""
        inner = self.decode
        return Objective(self.model, self.layout, self.task, self.split, lambda vectors: inner(decode(vectors)))

    def batch(self, count: int, generator: torch.Generator, device: torch.device, augment: bool = False) -> Batch:
        """Return so many training examples, drawn at random; as they are evaluated, or with the training transform."""
        index = torch.randint(len(self.split), (count,), generator=generator)
        return self.split.batch(index, device, generator if augment else None)

    def losses(self, theta_MD: Tensor, batch: Batch) -> Tensor:
        """Return the task's loss of every network on the batch, `[M]`."""
        return torch.stack([self.task.loss(self._network(theta_D), batch) for theta_D in self.decode(theta_MD)])

    def log_probabilities(self, theta_MD: Tensor, inputs: Any) -> Tensor | None:
        """Return log-probabilities of classes `[M, B, K]`; None where the task has no classes."""
        rows = []
        for theta_D in self.decode(theta_MD):
            row = self.task.log_probabilities(self._network(theta_D), inputs)
            if row is None:
                return None
            rows.append(row)
        return torch.stack(rows)

    def outputs(self, theta_MD: Tensor, inputs: Any) -> Tensor:
        """Return what networks put out, `[M, B, ...]`, all at once; they must give one tensor."""
        return self._together(lambda network: network(inputs), theta_MD)

    def answers(self, theta_MD: Tensor, inputs: Any) -> Tensor:
        """Return the outputs that count, `[M, B, ...]`, all at once; see `Task.answer`."""
        return self._together(lambda network: self.task.answer(network, inputs), theta_MD)

    def predictions(self, theta_MD: Tensor, inputs: Any) -> Tensor:
        """Return the task's predictions `[M, B, ...]`, all at once, with their gradient where they have one."""
        return self._together(lambda network: self.task.predict(network, inputs), theta_MD)

    def probabilities(self, theta_MD: Tensor, inputs: Any) -> Tensor:
        """Return the classes' probabilities `[M, B, K]`, all at once, of a task that has classes."""
        return self._together(lambda network: self.task.log_probabilities(network, inputs).exp(), theta_MD)  # type: ignore[union-attr]

    def _together(self, function: Callable[[Any], Tensor], theta_MD: Tensor) -> Tensor:
        return vmap(lambda entries: function(self._with(entries)))(self._entries(self.decode(theta_MD)))

    def _network(self, theta_D: Tensor) -> Any:
        return self._with(self._entries(theta_D))

    def _entries(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the entries of `[..., D]`; no loss in eval mode is differentiable by running statistics."""
        return {
            key: (value.detach() if key.rsplit(".", 1)[-1] in RUNNING else value).to(entry_of(self.model, key).dtype)
            for key, value in self.layout.tensors(theta).items()
            if key in self.names
        }

    def _with(self, entries: dict[str, Tensor]) -> Any:
        """Return the network with these entries, in eval mode, as a function."""
        self.model.eval()
        return lambda *arguments, **options: functional_call(self.model, entries, arguments, options, tie_weights=False)

"""Ways to run a population on a batch: whole or parted, one network at a time or several; the quickest is tried out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from pdiff.data import each, leaves
from pdiff.networks import entry_of, once
from pdiff.running.memory import ran_out
from pdiff.zoo import Layout
from pdiff_plugins.adapters.layers import merged_weights
from pdiff_plugins.populations.parting import Parted
from pdiff_plugins.populations.spying import arguments_of

if TYPE_CHECKING:
    from pdiff.way import Predicts


class Prepared(NamedTuple):
    """A batch of so many examples, filled up where shapes are fixed, and what is computed once of it."""

    inputs: Any
    examples: int
    frozen: tuple[Any, ...] | None = None


@dataclass
class Way:
    """How networks are run: `parted` or whole, `at_once` of them in one call."""

    model: nn.Module
    layout: Layout
    task: Predicts
    parted: Parted | None = None
    at_once: int = 1
    batch: int = 0
    """Examples per batch, which are fixed in a parted network."""
    channels_last: bool = False
    """Images are handed over in channels-last order, in which convolutions then compute."""

    def prepare(self, inputs: Any) -> Prepared:
        """Do what is done once per batch."""
        count = len(leaves(inputs)[0])
        if self.parted and count < self.batch:  # the graph's shapes are fixed
            filled = torch.arange(self.batch).clamp_max(count - 1)
            inputs = each(lambda tensor: tensor[filled.to(tensor.device)], inputs)
        if self.channels_last:
            inputs = each(_channels_last, inputs)
        if self.parted is None:
            return Prepared(inputs, count)
        return Prepared(inputs, count, self.parted.prefix(*arguments_of(self.task, inputs)))

    def run(self, theta_mD: Tensor, batch: Prepared) -> Tensor:
        """Return the predictions `[m, B, ...]` of networks on the device."""
        with contextlib.nullcontext() if self.parted else merged_weights(nn.Module):
            return self._joint(theta_mD, batch.inputs, batch.frozen)[:, : batch.examples]

    def halving(self, theta_mD: Tensor, batch: Prepared) -> Tensor:
        """Run the networks, or the first half of them when memory runs out, and remember that."""
        while True:
            try:
                return self.run(theta_mD[: self.at_once], batch)
            except (RuntimeError, MemoryError) as error:
                if self.at_once == 1 or not ran_out(error):
                    raise
            self.at_once = (self.at_once + 1) // 2

    def _joint(self, theta_mD: Tensor, inputs: Any, frozen: Any) -> Tensor:
        if self.at_once == 1:
            return torch.stack([self._one(theta_D, inputs, frozen) for theta_D in theta_mD])

        def one(entries: dict[str, Tensor]) -> Tensor:
            return self.task.predict(self._function(entries, frozen), inputs)

        return torch.vmap(one)(self._entries(theta_mD))

    def _one(self, theta_D: Tensor, inputs: Any, frozen: Any) -> Tensor:
        entries = self._entries(theta_D)
        if self.parted is not None:
            return self.task.predict(self._function(entries, frozen), inputs)
        for key, value in entries.items():
            entry_of(self.model, key).data = value
        return self.task.predict(self.model, inputs)

    def _function(self, entries: dict[str, Tensor], frozen: Any) -> Callable[..., Any]:
        """Return what stands for the model with these entries."""
        if self.parted is None:
            names = once(self.model, entries)
            own = {key: value for key, value in entries.items() if key in names}
            return lambda *args, **options: torch.func.functional_call(
                self.model, own, args, options, tie_weights=False
            )
        parted = self.parted
        return lambda *_: parted.suffix(entries, frozen)

    def _entries(self, theta: Tensor) -> dict[str, Tensor]:
        tensors = self.layout.tensors(theta)
        return {key: value.to(entry_of(self.model, key).dtype) for key, value in tensors.items()}

    def __str__(self) -> str:
        part = "what is frozen once per batch, the rest" if self.parted else "whole,"
        order = ", channels last" if self.channels_last else ""
        return f"{part} {f'{self.at_once} at a time' if self.at_once > 1 else 'one at a time'}{order}"


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

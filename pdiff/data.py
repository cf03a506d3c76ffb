"""What a dataset gives: three splits that hand out batches of tensors."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pdiff.errors import UserError
from pdiff.running.device import sent

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
"""What a network is called with: one tensor, several in their order, or several by name; each `[B, ...]`."""


About = Mapping[str, Any]
"""What a network is for, as its row in a zoo has it: JSON."""


def arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return inputs as (positional, by name): a network is called as `model(*positional, **named)`."""
    if isinstance(inputs, dict):
        return (), inputs
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def each(function: Callable[..., Any], *trees: Any) -> Any:
    """Return what a function gives for each tensor of inputs, or of a batch, in the same form."""
    return pytree.tree_map(function, *trees)


def leaves(inputs: Any) -> list[Tensor]:
    """Return the tensors of inputs, in their order."""
    return pytree.tree_leaves(inputs)


def require_finite(values: Tensor, what: str, first: int = 0) -> None:
    """Raise UserError that names the first of the examples `[E, ...]`, counted from `first`, that is not finite."""
    bad = ~torch.isfinite(values)
    if bad.any():
        example, *place = bad.nonzero()[0].tolist()
        at = f" at {place}" if place and values[0].numel() > 1 else ""
        raise UserError(
            f"example {first + example}: {what}{at} is {values[(example, *place)].item()}; give a number, or leave "
            "such examples out"
        )


class Batch(NamedTuple):
    """Inputs, each `[B, ...]`: float32, or whole numbers where they are tokens or the like; and targets `[B, ...]`."""

    inputs: Any
    """See `Inputs`."""
    targets: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(*each(lambda tensor: sent(tensor, device), tuple(self)))


class Split(Protocol):
    """Examples that can be read in any order, as they are evaluated or as they are trained on."""

    @property
    def targets(self) -> Tensor:
        """`[E]` or `[E, ...]`, on the CPU."""
        ...

    def __len__(self) -> int: ...

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index` `[B]` (int64, CPU), ready for the network, on `device`.

        With `augment` (a CPU generator) the training transform is drawn from it; without, the evaluation transform
        is applied, which depends on nothing but the example.
        """
        ...


@dataclass(frozen=True)
class TensorSplit:
    """A split of ready tensors, without a training transform."""

    inputs: Any
    """See `Inputs`."""
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index`; see `Split.batch`."""
        return each(lambda tensor: sent(tensor[index], device), Batch(self.inputs, self.targets))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class DatasetSplits:
    """Train, validation and test, and the sizes that a network needs."""

    train: Split
    validation: Split
    test: Split
    input_shape: Any
    """Of one example, without the batch: `(3, 32, 32)`; of several inputs a tuple or a dict of such shapes."""
    outputs: int
    """Of a network: what the task makes of those that the dataset says."""
    names: tuple[str, ...] = ()
    """Of the classes, labels or quantities, in the order of their numbers, where they have names."""
    classes: int = 0
    """The outputs that the dataset says; 0: as `outputs`."""

    def split(self, name: str) -> Split:
        """Return `train`, `validation` or `test`."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]

    def example(self) -> Inputs:
        """Return two examples' inputs on the CPU, of the type that the network expects: what it is traced with."""
        return self._example

    @functools.cached_property
    def _example(self) -> Inputs:
        return self.train.batch(torch.arange(2) % len(self.train), torch.device("cpu")).inputs  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Chosen:
    """Some examples of a split, by their numbers."""

    of: Split
    chosen_E: Tensor

    @property
    def targets(self) -> Tensor:
        return self.of.targets[self.chosen_E]

    def __len__(self) -> int:
        return len(self.chosen_E)

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index`; see `pdiff.data.Split`."""
        return self.of.batch(self.chosen_E[index], device, augment)


def some(split: Split, most: int, generator: torch.Generator) -> Split:
    """Return at most so many examples of a split, drawn at random, in their order; 0: all."""
    if not most or most >= len(split):
        return split
    return Chosen(split, torch.randperm(len(split), generator=generator)[:most].sort().values)


def holdout(count: int, fraction: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cut `count` examples at random into (train, validation) index tensors, each sorted."""
    order = torch.randperm(count, generator=generator)
    cut = round(count * fraction)
    return order[cut:].sort().values, order[:cut].sort().values


def evaluation_size(split: Split, wanted: int, device: torch.device) -> int:
    """Return how many examples to evaluate at a time: as many as wanted, or for 0 what suits the device's memory.

    Large images are taken fewer at a time: 32 of 224 pixels on a CPU, where more are no quicker.
    """
    if not wanted:
        most, numbers = (512, 2**26) if device.type == "cuda" else (128, 2**23)
        inputs = split.batch(torch.zeros(1, dtype=torch.int64), torch.device("cpu")).inputs
        wanted = min(most, 2 ** int(math.log2(max(numbers / max(sum(x.numel() for x in leaves(inputs)), 1), 1))))
    return min(wanted, len(split))


def evaluation_batches(split: Split, size: int, device: torch.device) -> Iterator[Batch]:
    """Yield the whole split in order, `size` examples at a time (0: see `evaluation_size`)."""
    for index in torch.arange(len(split)).split(evaluation_size(split, size, device)):
        yield split.batch(index, device)

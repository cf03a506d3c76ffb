"""One network that is trained on all tasks together: its examples, and the start that it can be for all others.

Shapes: B examples of a step, E examples of a round.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pdiff.context import Context, derive
from pdiff.data import Batch, Split, each, leaves
from pdiff.errors import UserError
from pdiff.training.loop import train
from pdiff_plugins.adapters.layers import in_training
from pdiff_plugins.collectors.seeds.training import changes, ready

if TYPE_CHECKING:
    from pdiff.components import Family
    from pdiff.data import About
    from pdiff.zoo import Layout

ROUND_BYTES = 2**25
"""Of examples that are asked for at once: many of a task at a time are quicker than a few."""
WARM = 200
"""Steps in which the rate rises: one that is best later can leave a new network with one answer to everything."""
AVERAGED = 0.9999
"""Decay of the average of the weights that is kept; `train` lets it begin by the last tenth of the steps."""


class Shares:
    """Training examples of which all tasks have the same share, in rounds that hold all tasks, shuffled."""

    def __init__(
        self, split: Split, family: Family, abouts: Sequence[About], batch_size: int, augment: bool, ctx: Context
    ):  # fmt: skip
        """`batch_size`: examples of a step, of all tasks; `augment`: with the training transform."""
        self.family, self.abouts, self.batch_size, self.seed = family, abouts, batch_size, ctx.seed
        self.augment = augment and changes(split)
        self.split = split if self.augment else ready(split, torch.device("cpu")) or split
        first = family.ask(split.batch(torch.arange(1), torch.device("cpu")), abouts[0])
        own = [family.asked(self.split, about) for about in abouts]
        self.own = own if any(len(one) != len(split) for one in own) else None
        """Each task's examples, where it is not asked about all."""
        size = sum(x.nbytes for x in leaves(tuple(first)))
        self.steps = max(1, ROUND_BYTES // (size * batch_size))
        """Of a round."""
        self.round = functools.lru_cache(2)(self._round)

    def draw(self, step: int, generator: torch.Generator) -> tuple[Any, Tensor]:
        """Return a step's examples, on the CPU, and the number of each one's task, `[B]`."""
        number, place = divmod(step, self.steps)
        batch, task_E = self.round(number)
        part = slice(place * self.batch_size, (place + 1) * self.batch_size)
        return each(lambda x: x[part], tuple(batch)), task_E[part]

    def _round(self, number: int) -> tuple[Batch, Tensor]:
        """Return the examples of a round, and the number of each one's task `[E]`."""
        generator = torch.Generator().manual_seed(derive(self.seed, "round", number))
        count, tasks = self.steps * self.batch_size, len(self.abouts)
        task_E = torch.randperm(tasks, generator=generator).repeat(-(-count // tasks))[:count].sort().values
        lengths = task_E.bincount(minlength=tasks).tolist()
        asked = list(self._of_own(lengths, generator) if self.own else self._of_all(lengths, generator))
        order_E = torch.randperm(count, generator=generator)
        return Batch(*each(lambda *parts: torch.cat(parts)[order_E], *asked)), task_E[order_E]

    def _of_own(self, lengths: Sequence[int], generator: torch.Generator) -> Iterator[tuple[Any, ...]]:
        """Yield so many examples of each task's own."""
        for split, length in zip(self.own or (), lengths, strict=True):
            index_E = torch.randint(len(split), (length,), generator=generator)
            yield tuple(split.batch(index_E, torch.device("cpu"), generator if self.augment else None))

    def _of_all(self, lengths: Sequence[int], generator: torch.Generator) -> Iterator[tuple[Any, ...]]:
        """Yield so many examples as each task has them, asked for at once."""
        index_E = torch.randint(len(self.split), (sum(lengths),), generator=generator)
        whole, start = tuple(self.split.batch(index_E, torch.device("cpu"), generator if self.augment else None)), 0
        for about, length in zip(self.abouts, lengths, strict=True):
            part, start = slice(start, start + length), start + length
            if length:
                yield tuple(self.family.ask(Batch(*each(lambda x, part=part: x[part], whole)), about))


def rising(steps: int) -> Callable[[int], float]:
    """Return the factor on a rate that rises for `WARM` steps, or for a quarter of so many, and then stays."""
    rise = max(1, min(WARM, steps // 4))
    return lambda step: min(1.0, (step + 1) / rise)


def common_start(
    model: nn.Module, layout: Layout, family: Family, abouts: Sequence[About], split: Split, steps: int, lr: float,
    batch_size: int, augment: bool, ctx: Context,
) -> nn.Module:  # fmt: skip
    """Return a network whose selected entries are trained on all tasks together; all others are the model's.

    Weights are the average of the last steps' (`AVERAGED`), at a constant rate. Raises UserError where the selection
    holds nothing to train.
    """
    network, selected = in_training(copy.deepcopy(model)), set(layout.keys)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in selected)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UserError("selector: names no trainable parameter (buffers alone do not learn); select some")
    ctx = ctx.scope("multitask")
    shares = Shares(split, family, abouts, batch_size, augment, ctx)

    def loss(batch: Any, _: Tensor) -> Tensor:
        return family.loss(network, Batch(*batch))

    train(
        network, loss, steps=steps, ctx=ctx, what="multitask", lr=lr, optimizer="adam", schedule=rising(steps),
        ema=AVERAGED,
        draw=shares.draw,
    )  # fmt: skip
    trained = {key: value for key, value in network.state_dict().items() if key in selected}
    network.load_state_dict(model.state_dict() | trained)
    return network.requires_grad_(True)

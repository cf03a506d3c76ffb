"""What is drawn for each run: its settings, its share of the training examples, and their orders.

Shapes: G runs, B batch, E examples.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor, nn

from pdiff.context import Context, derive

if TYPE_CHECKING:
    from pdiff.data import Batch
    from pdiff.zoo import Layout
    from pdiff_plugins.collectors.seeds.training import Examples
    from pdiff_plugins.collectors.varied.collector import Varied


class Settings(TypedDict):
    """How a run was trained."""

    lr: float
    weight_decay: float
    scale: float
    share: float
    steps: int


def settings(options: Varied, run: int, ctx: Context) -> Settings:
    """Return what is drawn for a run, by its number and the seed alone."""
    generator = ctx.generator("run", run, "settings")
    place = torch.rand(5, dtype=torch.float64, generator=generator).tolist()
    (low, high), (fewest, most) = options.share, options.steps
    return {
        "lr": _between(options.lr, place[0]), "weight_decay": _between(options.weight_decay, place[1]),
        "scale": _between(options.scale, place[2]), "share": low + place[3] * (high - low),
        "steps": min(most, fewest + int(place[4] * (most - fewest + 1))),
    }  # fmt: skip


def _between(ends: tuple[float, float], place: float) -> float:
    """Return the number at a place in 0..1 between two, in logarithms; never beyond them by rounding."""
    if ends[0] == ends[1]:
        return ends[0]
    low, high = map(math.log, ends)
    return min(max(math.exp(low + place * (high - low)), ends[0]), ends[1])


@torch.no_grad()
def scaled(model: nn.Module, scale: float, layout: Layout) -> nn.Module:
    """Return a network whose selected parameters of two or more axes are multiplied; the one given is left alone."""
    model, selected = copy.deepcopy(model), set(layout.keys)
    for key, parameter in model.named_parameters():
        if key in selected and parameter.dim() > 1:
            parameter.mul_(scale)
    return model


class Shares:
    """The training examples of many runs, of which each reads a share of its own.

    All are read in a random order, then in another. A batch may hold the end of one and the begin of the next, so that
    all batches are of one length however few a run's examples are.
    """

    def __init__(self, examples: Examples, share: Callable[[int], float]):
        """`share`: of the examples, by run."""
        self.examples, self.share = examples, share
        self.batch_size, self.first = examples.batch_size, examples.first
        self.per_epoch = 1
        """What is asked for as an epoch is one batch: runs begin anew at steps of their own."""
        self._kept: dict[int, Tensor] = {}
        self._order: dict[int, tuple[int, Tensor]] = {}

    def orders(self, epoch: int, runs: Sequence[int]) -> Tensor:
        """Return the examples of the batches of a step, `[G, B]`."""
        return torch.stack([self._batch(run, epoch * self.batch_size) for run in runs])

    def batch(self, index_GB: Tensor, step: int, runs: Sequence[int]) -> Batch:
        return self.examples.batch(index_GB, step, runs)

    def _batch(self, run: int, begin: int) -> Tensor:
        """Return a run's examples from the place `begin` on, of all that it reads."""
        parts, stop, count = list[Tensor](), begin + self.batch_size, len(self._own(run))
        while begin < stop:
            again, place = divmod(begin, count)
            parts.append(self._ordered(run, again)[place : place + stop - begin])
            begin += len(parts[-1])
        return torch.cat(parts)

    def _own(self, run: int) -> Tensor:
        if run not in self._kept:
            order_E = self._drawn(self.examples.count, run, "share")
            self._kept[run] = order_E[: max(1, round(self.share(run) * self.examples.count))]
        return self._kept[run]

    def _ordered(self, run: int, again: int) -> Tensor:
        if self._order.get(run, (-1, None))[0] != again:
            own = self._own(run)
            self._order[run] = again, own[self._drawn(len(own), run, "epoch", again)]
        return self._order[run][1]

    def _drawn(self, count: int, run: int, *words: object) -> Tensor:
        generator = torch.Generator().manual_seed(derive(self.examples.seed(run), *words))
        return torch.randperm(count, generator=generator)

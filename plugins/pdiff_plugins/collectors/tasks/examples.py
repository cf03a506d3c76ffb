"""Training examples as tasks ask for them: batches of many runs, each of a task of its own.

Shapes: R runs, G runs of a block, B batch, E examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.data import Batch, each
from pdiff.running.device import sent
from pdiff_plugins.collectors.seeds.training import READY_BYTES, Examples, stacked

if TYPE_CHECKING:
    from pdiff.components import Family
    from pdiff.data import About

ALL = -1
"""The number of the run in whose order all runs see the examples that they have in common."""


class TaskExamples:
    """The examples of runs whose tasks a family makes of them; see `Batches`."""

    def __init__(self, examples: Examples, family: Family, abouts: Sequence[About], same: bool, seeded: int = 0):
        """`abouts`: one for each run; `same`: all have the same examples in a step; `seeded`: the first's seed."""
        self.examples, self.family, self.abouts, self.same, self.seeded = examples, family, abouts, same, seeded
        self.batch_size, self.per_epoch = examples.batch_size, examples.per_epoch
        self.first = family.ask(examples.first, abouts[0])
        self.targets_RE = self._targets()

    def _targets(self) -> Tensor | None:
        """Return all targets of all runs, where tasks differ in them alone and they are not too many."""
        ready, count = self.examples.ready, len(self.abouts)
        if ready is None or not self.family.alike(ready.inputs) or count * ready.targets.nbytes > READY_BYTES:
            return None
        return torch.stack([self.family.targets(ready.targets, about) for about in self.abouts])

    def orders(self, epoch: int, runs: Sequence[int]) -> Tensor:
        """See `Batches.orders`."""
        if not self.same:
            return self.examples.orders(epoch, self._seeded(runs))
        return self.examples.orders(epoch, [ALL]).expand(len(runs), -1)

    def batch(self, index_GB: Tensor, step: int, runs: Sequence[int]) -> Batch:
        """See `Batches.batch`; runs behind the last have the tasks of the first."""
        tasks = torch.tensor([run % len(self.abouts) for run in runs])
        abouts = [self.abouts[task] for task in tasks]
        if self.same:
            one = each(lambda x: x[0], self.examples.batch(index_GB[:1], step, [ALL]))
            if self.targets_RE is None:
                return shared(self.family, one, abouts)
            return Batch(alike(one.inputs, len(runs)), self._targets_of(tasks, index_GB))
        batch = self.examples.batch(index_GB, step, self._seeded(runs))
        if self.targets_RE is not None:
            return Batch(batch.inputs, self._targets_of(tasks, index_GB))
        given = [Batch(*each(lambda x, at=at: x[at], tuple(batch))) for at in range(len(runs))]
        return stacked([self.family.ask(*asked) for asked in zip(given, abouts, strict=True)])

    def _targets_of(self, tasks: Tensor, index_GB: Tensor) -> Tensor:
        assert self.targets_RE is not None
        device = self.targets_RE.device
        return self.targets_RE[sent(tasks, device)[:, None], sent(index_GB, device)]

    def _seeded(self, runs: Sequence[int]) -> list[int]:
        return [self.seeded + run for run in runs]


def alike(inputs: Any, count: int) -> Any:
    """Return inputs `[B, ...]` as those of so many networks, `[G, B, ...]`, a view."""
    return each(lambda x: x.expand(count, *x.shape), inputs)


def shared(family: Family, batch: Batch, abouts: Sequence[About]) -> Batch:
    """Return what each task makes of the same examples, `[G, B, ...]`; inputs that all have alike are a view."""
    targets = torch.stack([family.targets(batch.targets, about) for about in abouts])
    if family.alike(batch.inputs):
        return Batch(alike(batch.inputs, len(abouts)), targets)
    inputs = [family.inputs(batch.inputs, about) for about in abouts]
    return Batch(each(lambda *values: torch.stack(values), *inputs), targets)

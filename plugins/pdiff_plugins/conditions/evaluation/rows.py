"""What stands beside the sources: ways to answer tasks without a generated network. T tasks, E examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from pdiff.components import Family
from pdiff.mapped import mean_of
from pdiff_plugins.conditions.evaluation.judging import Judged

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff_plugins.conditions.evaluation.asking import Asker

LARGER, MEAN = "larger class", "mean of all networks"


def rows(asker: Asker) -> Iterator[tuple[str, Judged]]:
    """Yield (name, what it answers) of the plain ways, and of the family's own rivals."""
    judge, every = asker.judge, list(range(len(asker.tasks)))
    larger = {number: _larger(asker, number) for number in every}
    if all(answer is not None for answer in larger.values()):
        known = {number: answer for number, answer in larger.items() if answer is not None}
        yield LARGER, judge.answers(known.__getitem__, every)
    yield MEAN, judge.networks(mean_of(asker.view.zoo.theta_ND)[None])
    if isinstance(judge.task, Family):
        for name, rival in judge.task.rivals(asker.view.bench, asker.ctx.scope("rivals")).items():
            yield name, judge.rival(rival)


def _larger(asker: Asker, number: int) -> Tensor | None:
    """Return a task's more frequent training target as the answer to everything; None where targets are no classes."""
    targets = asker.judge.as_asked(asker.view.bench.examples("train"), number).targets
    if targets.ndim != 1 or targets.is_floating_point() or targets.is_complex():
        return None
    targets = targets[targets >= 0]  # what counts for nothing is below
    return torch.mode(targets).values.expand(1, len(asker.judge.targets(number)))

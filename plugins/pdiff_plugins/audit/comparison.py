"""The method beside every baseline: differences of scores on the test split, with intervals that keep their word."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff.view import ORIGINAL
from pdiff_plugins.maths.crossed import Difference, difference, holm

if TYPE_CHECKING:
    from pdiff.view import View
    from pdiff_plugins.audit.scores import Gain

GROUPS = 10
"""Of test examples, for scores that are no mean over examples."""


def gains(view: View) -> dict[str, Gain]:
    """Return by baseline what the method gains over it, those that it comes nearest to first."""
    values = {source: per_example(view, source) for source in view.theta if source != ORIGINAL}
    others = {source: difference(values[view.method], values[source]) for source in values if source != view.method}
    others = {source: gain for source, gain in others.items() if math.isfinite(gain.mean + gain.error)}
    worse = dict(zip(others, holm([gain.chance for gain in others.values()]), strict=True))
    return {
        source: _gain(gain, len(view.theta[source]), worse[source] and gain.mean < 0)
        for source, gain in sorted(others.items(), key=lambda pair: pair[1].mean)
    }


def _gain(gain: Difference, networks: int, worse: bool) -> Gain:
    low, high = gain.interval()
    return {
        "mean": gain.mean, "low": low, "high": high, "error": gain.error, "chance": gain.chance, "networks": networks,
        "worse": worse,
    }  # fmt: skip


def per_example(view: View, source: str) -> Tensor:
    """Return scores `[M, E]` whose mean over E is each network's score on the test split.

    Where a score is no mean over examples, E counts groups of them: each has the jackknife's pseudo-value, less what
    its correction of a bias adds to all of them, as the score itself has none.
    """
    task, predictions, targets = view.recipe.task, view.predictions(source, "test"), view.targets("test")
    if counts_right(view):
        return (~task.wrong(predictions, targets)).flatten(1).double()
    groups = min(GROUPS, len(targets))
    group_E = torch.arange(len(targets)) % groups
    whole_M = task.score(predictions, targets)
    without_GM = torch.stack([task.score(predictions[:, group_E != g], targets[group_E != g]) for g in range(groups)])
    pseudo_MG = (groups * whole_M - (groups - 1) * without_GM).T
    return pseudo_MG + (whole_M - pseudo_MG.mean(dim=1))[:, None]


def counts_right(view: View) -> bool:
    """Return whether the task's score is the share of right answers."""
    task, predictions, targets = view.recipe.task, view.predictions(view.method, "test")[:1], view.targets("test")
    right = 1 - task.wrong(predictions, targets).double().mean()
    return math.isclose(float(task.score(predictions, targets)[0]), float(right), abs_tol=1e-6)


def better(gains_by_source: Mapping[str, Gain]) -> bool:
    """Return whether the method is better than every baseline, an intersection-union test: nothing to correct."""
    return bool(gains_by_source) and all(gain["low"] > 0 for gain in gains_by_source.values())

"""How new the networks of a population are: in parameters, in function, and beside checkpoints that nobody has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff.view import ORIGINAL, View
from pdiff_plugins.maths.manifolds import precision_and_recall
from pdiff_plugins.maths.median import median
from pdiff_plugins.maths.neighbours import nearest, neighbours

CLASSES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


@dataclass(frozen=True)
class Distances:
    """How far networks lie from the nearest checkpoint, in units of the checkpoints' own."""

    raw: dict[str, Tensor]
    """As they are, `[M]` by source."""
    ratios: dict[str, Tensor]
    """Those that N&P is of, `[M']` of the first M' networks by source: after symmetries, where there are any."""
    zoo_ND: Tensor
    """The checkpoints among which the second are taken."""
    unit: float
    """Median distance of a checkpoint to its nearest other among these; NaN where all are the same."""
    quotient: bool
    """Whether there are symmetries."""


def distances(view: View, most: int) -> Distances:
    """Return the distances of all networks, and of at most so many of each source after symmetries (0: of none)."""
    raw = novelty(view)
    unit = median(nearest(view.zoo.theta_ND, view.zoo.theta_ND, leave_self_out=True)) or math.nan
    return Distances(raw, raw, view.zoo.theta_ND, unit, False)


def novelty(view: View) -> dict[str, Tensor]:
    """Return each network's distance to the nearest checkpoint over the checkpoints' own median, `[M]` by source."""
    return ratios(view.theta, view.zoo.theta_ND)


def ratios(theta: Mapping[str, Tensor], zoo_ND: Tensor) -> dict[str, Tensor]:
    """Return distances to the nearest of `zoo_ND`, in units of the median distance between its own nearest, `[M]`."""
    apart_N = nearest(zoo_ND, zoo_ND, leave_self_out=True)
    unit = median(apart_N) or float("nan")  # of equal checkpoints nothing can be said
    return {
        source: (apart_N if source == ORIGINAL else nearest(theta_MD, zoo_ND)) / unit
        for source, theta_MD in theta.items()
    }


def aligned_novelty(view: View, most: int) -> dict[str, float]:
    """Return the median of `novelty` by source, hidden units of all networks in the order of the first checkpoint's.

    Of at most so many networks of each source, because alignment takes its time; nothing where there is none.
    """
    zoo_ND = view.bench.align(view.zoo.theta_ND) if most else None
    if zoo_ND is None:
        return {}
    aligned = {
        source: view.bench.align(theta_MD[:most]) for source, theta_MD in view.theta.items() if source != ORIGINAL
    }
    theta = {ORIGINAL: zoo_ND} | {source: theta_MD for source, theta_MD in aligned.items() if theta_MD is not None}
    medians = {source: median(ratio_M) for source, ratio_M in ratios(theta, zoo_ND).items()}
    return {source: ratio for source, ratio in medians.items() if not math.isnan(ratio)}  # NaN: all are one network


def disagreement(view: View, source: str) -> float:
    """Return the mean share of test examples on which a network predicts otherwise than its nearest checkpoint.

    Predictions that are no classes, which never quite agree, are compared by whether they are wrong.
    """
    theirs, zoo_ND = _answers(view, ORIGINAL), view.zoo.theta_ND
    _, index_M = neighbours(view.theta[source], zoo_ND, leave_self_out=source == ORIGINAL)
    pairs = zip(_answers(view, source), theirs[index_M], strict=True)
    return float(torch.stack([(a != b).reshape(len(a), -1).any(dim=1).double().mean() for a, b in pairs]).mean())


def _answers(view: View, source: str) -> Tensor:
    predictions = view.predictions(source, "test")
    if predictions.dtype in CLASSES and predictions.ndim == 2:
        return predictions
    return view.recipe.task.wrong(predictions, view.targets("test"))


def manifold(view: View, source: str) -> dict[str, float]:
    """Return precision and recall against held-out checkpoints, where there are enough."""
    if view.zoo.holdout is None:
        return {}
    precision, recall = precision_and_recall(view.theta[source], view.zoo.holdout.theta_ND)
    return {} if precision != precision else {"precision": precision, "recall": recall}

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
from pdiff_plugins.maths.neighbours import few_nearest, nearest, neighbours

CLASSES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
CANDIDATES = 1
"""Checkpoints that a network is matched to one by one: the nearest after all are aligned to the first.

With 8 of them the medians that were tried changed by 1 to 5 %, at four times the cost.
"""
SAME = 1e-5
"""Of a network's length: what rounding may leave between copies."""
NUMBERS = 2**24
"""Parameters of pairs of networks that are matched at a time."""


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
    """Return the distances of all networks, and after symmetries (most > 0) of all checkpoints and the first of others.

    Hidden units are scaled to a canonical form and put in the order of the first checkpoint's; then each network and
    its nearest checkpoints are matched to each other.
    """
    raw, theta = novelty(view), {source: theta_MD[:most] for source, theta_MD in view.theta.items()}
    zoo_ND = view.bench.align(view.zoo.theta_ND) if most else None
    if zoo_ND is None:
        unit = median(nearest(view.zoo.theta_ND, view.zoo.theta_ND, leave_self_out=True)) or math.nan
        return Distances(raw, raw, view.zoo.theta_ND, unit, False)
    far = {source: _matched(view, theta[source], zoo_ND) for source in theta if source != ORIGINAL}
    far = {ORIGINAL: _matched(view, zoo_ND, zoo_ND, leave_self_out=True)} | far
    unit = median(far[ORIGINAL]) or math.nan  # of equal checkpoints nothing can be said
    return Distances(raw, {source: far_M / unit for source, far_M in far.items()}, zoo_ND, unit, True)


def _matched(view: View, theta_MD: Tensor, zoo_ND: Tensor, leave_self_out: bool = False) -> Tensor:
    """Return the distance to the nearest of `zoo_ND`, each network matched to its nearest ones, `[M]` in float64."""
    near_MD = theta_MD if leave_self_out else _aligned(view, theta_MD)
    apart_MK, near_MK = few_nearest(near_MD, zoo_ND, CANDIDATES, leave_self_out)
    at_once = max(1, NUMBERS // (near_MK.shape[1] * zoo_ND.shape[1]))
    parts = zip(near_MD.split(at_once), near_MK.split(at_once), strict=True)
    matched_MK = torch.cat([_apart(view, part_MD, zoo_ND, part_MK) for part_MD, part_MK in parts])
    apart_M = torch.minimum(apart_MK, matched_MK).where(apart_MK.isfinite(), apart_MK).amin(dim=1)  # inf: left out
    return apart_M * (apart_M > SAME * near_MD.double().norm(dim=1))


def _apart(view: View, theta_MD: Tensor, zoo_ND: Tensor, near_MK: Tensor) -> Tensor:
    """Return the distances to some of `zoo_ND` after each pair is matched, `[M, K]`."""
    theirs_PD = zoo_ND[near_MK.flatten()]
    ours_PD = _aligned(view, theta_MD.repeat_interleave(near_MK.shape[1], dim=0), theirs_PD)
    return (ours_PD - theirs_PD).double().norm(dim=1).view(near_MK.shape)


def _aligned(view: View, theta_MD: Tensor, to_MD: Tensor | None = None) -> Tensor:
    """Return networks aligned, where it is known that they can be."""
    aligned_MD = view.bench.align(theta_MD, to_MD)
    assert aligned_MD is not None
    return aligned_MD


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

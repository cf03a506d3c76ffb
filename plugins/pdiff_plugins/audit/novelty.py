"""How new the networks of a population are: in parameters, in function, and beside checkpoints that nobody has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff.view import ORIGINAL, View
from pdiff_plugins.evaluators.telling import answers
from pdiff_plugins.maths.manifolds import precision_and_recall
from pdiff_plugins.maths.median import median
from pdiff_plugins.maths.neighbours import neighbours

SAME = 1e-5
"""Of a network's length: what rounding may leave between copies."""
NUMBERS = 2**24
"""Parameters of networks that are matched at a time."""


@dataclass(frozen=True)
class Distances:
    """How far networks lie from the nearest checkpoint, in units of the checkpoints' own."""

    raw: dict[str, Tensor]
    """As they are, `[M]` by source."""
    near: dict[str, Tensor]
    """Number of the nearest checkpoint, `[M]` by source; of a checkpoint, of another one."""
    ratios: dict[str, Tensor]
    """Those that N&P is of, `[M']` of the first M' networks by source: after symmetries, where there are any."""
    zoo_ND: Tensor
    """The checkpoints among which the second are taken."""
    unit: float
    """Median distance of a checkpoint to its nearest other among these; NaN where all are the same."""
    quotient: bool
    """Whether there are symmetries."""
    products: bool
    """Whether they are taken in coordinates of the selector's own: of adapters, their products."""


def distances(view: View, most: int) -> Distances:
    """Return the distances of all networks, and after symmetries (most > 0) of all checkpoints and the first of others.

    Hidden units are scaled to a canonical form and put in the order of the first checkpoint's; then each network and
    its nearest checkpoint are matched to each other. Where a selection has coordinates of its own, in which networks of
    one function are equal, all distances are taken in them.
    """
    zoo_NZ = view.bench.coordinates(view.zoo.theta_ND)
    products, far, near = zoo_NZ is not view.zoo.theta_ND, dict[str, Tensor](), dict[str, Tensor]()
    for source, theta_MD in view.theta.items():
        z_MZ = view.bench.coordinates(theta_MD)
        far[source], near[source] = neighbours(z_MZ, zoo_NZ, leave_self_out=source == ORIGINAL)
        if products:
            far[source] = _but_rounding(far[source], z_MZ)
    raw, unit = _in_units(far)
    zoo_ND = view.bench.align(view.zoo.theta_ND) if most and not products else None
    if zoo_ND is None:
        return Distances(raw, near, raw, view.zoo.theta_ND, unit, False, products)
    far = {
        source: _matched(view, zoo_ND if source == ORIGINAL else theta_MD[:most], zoo_ND, source == ORIGINAL)
        for source, theta_MD in view.theta.items()
    }
    ratios, unit = _in_units(far)
    return Distances(raw, near, ratios, zoo_ND, unit, True, False)


def _in_units(far: dict[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    """Return distances over the checkpoints' own median, and that; NaN where all are the same, which tells nothing."""
    unit = median(far[ORIGINAL]) or math.nan
    return {source: far_M / unit for source, far_M in far.items()}, unit


def _matched(view: View, theta_MD: Tensor, zoo_ND: Tensor, leave_self_out: bool = False) -> Tensor:
    """Return the distance to the nearest of `zoo_ND`, each network matched to it, `[M]` in float64.

    With the eight nearest matched instead, the medians that were tried changed by 1 to 5 %, at four times the cost.
    """
    near_MD = theta_MD if leave_self_out else _aligned(view, theta_MD)
    apart_M, near_M = neighbours(near_MD, zoo_ND, leave_self_out)
    at_once = max(1, NUMBERS // zoo_ND.shape[1])
    matched_M = torch.cat([
        (_aligned(view, part_MD, zoo_ND[part_M]) - zoo_ND[part_M]).double().norm(dim=1)
        for part_MD, part_M in zip(near_MD.split(at_once), near_M.split(at_once), strict=True)
    ])  # fmt: skip
    return _but_rounding(torch.minimum(apart_M, matched_M), near_MD)


def _but_rounding(apart_M: Tensor, theta_MD: Tensor) -> Tensor:
    """Return distances of networks, zero where rounding may have left them."""
    return apart_M * (apart_M > SAME * theta_MD.double().norm(dim=1))


def _aligned(view: View, theta_MD: Tensor, to_MD: Tensor | None = None) -> Tensor:
    """Return networks aligned, where it is known that they can be."""
    aligned_MD = view.bench.align(theta_MD, to_MD)
    assert aligned_MD is not None
    return aligned_MD


def disagreement(view: View, source: str, near_M: Tensor) -> float:
    """Return the mean share of test examples on which a network predicts otherwise than its nearest checkpoint.

    Predictions that are no classes, which never quite agree, are compared by whether they are wrong.
    """
    ours, theirs = (answers(view, view.predictions(who, "test")) for who in (source, ORIGINAL))
    pairs = zip(ours, theirs[near_M], strict=True)
    return float(torch.stack([(a != b).reshape(len(a), -1).any(dim=1).double().mean() for a, b in pairs]).mean())


def manifold(view: View, source: str) -> dict[str, float]:
    """Return precision and recall against held-out checkpoints, where there are enough."""
    if view.zoo.holdout is None:
        return {}
    held_HZ = view.bench.coordinates(view.zoo.holdout.theta_ND)
    precision, recall = precision_and_recall(view.bench.coordinates(view.theta[source]), held_HZ)
    return {} if precision != precision else {"precision": precision, "recall": recall}

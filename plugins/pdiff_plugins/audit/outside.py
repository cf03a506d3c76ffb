"""How much of a network lies outside the span of the checkpoints, and what that part does to its score.

N checkpoints span N - 1 directions, and any generator that works within them gives affine mixtures of checkpoints. What
lies outside is its own: new directions, or noise. Coordinates are the free ones (logarithms of variances), all of one
weight; where a selection has coordinates of its own, as adapters have their products, they are these, and the score of
the part inside, which no adapter of their rank may have, is not asked for. N checkpoints, M networks, W columns of a
window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff.view import ORIGINAL
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.evaluators.telling import evenly
from pdiff_plugins.maths.median import median
from pdiff_plugins.maths.normalise import mixed, read

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.audit.scores import OutsideScores

NETWORKS = 32
"""Of a source, evenly spaced, that are scored without their part outside."""
FEWEST = 3
"""Checkpoints, of which each has a direction to be outside of."""
FLOOR = 1e-10
"""Of the largest eigenvalue of the Gram matrix: directions of less are taken to be of as much, as it cannot resolve
them."""
HARDLY = 1e-3
"""Share that is none."""
ROUNDED = 2.0**-24
"""Of a number in float32, relative: what rounding can move it."""
LOST = 0.1
"""Share of a deviation that rounding may be, or nothing is said of it."""


@dataclass(frozen=True)
class Parts:
    """Networks of a population, inside and outside the span."""

    share_M: Tensor
    """Length of the part outside over that of the deviation; NaN where rounding or a broken network hides it."""
    rounding_M: Tensor
    """The share that rounding to float32 alone can be."""
    weight_MN: Tensor
    """Of the checkpoints' deviations from their mean: mean + weight x deviations is the part inside."""

    @property
    def known(self) -> Tensor:
        """Numbers of the networks of which it can be told."""
        return self.share_M.isfinite().nonzero()[:, 0]

    @property
    def share(self) -> float:
        """Median over these; NaN where there are none."""
        return median(self.share_M[self.known])

    @property
    def matters(self) -> bool:
        """Whether there is more than rounding outside."""
        return self.share > max(HARDLY, 4 * median(self.rounding_M[self.known]))


def outside(view: View, ctx: Context) -> tuple[dict[str, OutsideScores], float | None]:
    """Return the scores by source, and the share of held-out checkpoints; nothing of fewer than three checkpoints."""
    held, zoo = {} if view.zoo.holdout is None else {"": view.zoo.holdout.theta_ND}, view.zoo
    populations = {source: view.bench.coordinates(theta_MD) for source, theta_MD in {**view.theta, **held}.items()}
    z_NZ = view.bench.coordinates(zoo.theta_ND)
    products = z_NZ is not zoo.theta_ND
    if products:
        zoo = Zoo(z_NZ, Layout((Entry("products", (z_NZ.shape[1],), 0),)), {}, zoo.rows)
    parts = split(zoo, populations)
    scores = {source: _scores(view, source, parts[source], products, ctx) for source in view.theta if source in parts}
    return scores, parts[""].share if "" in parts and len(parts[""].known) else None


def _scores(view: View, source: str, parts: Parts, products: bool, ctx: Context) -> OutsideScores:
    if not len(parts.known):
        return {}
    scores: OutsideScores = {"outside": parts.share}
    if parts.matters and not products:
        chosen = parts.known[evenly(len(parts.known), NETWORKS)]
        inside_MD = mixed(view.zoo, parts.weight_MN[chosen], ctx)
        task, targets = view.recipe.task, view.targets("test")
        whole_M = task.score(view.predictions(source, "test")[chosen], targets).double()
        gain_M = whole_M - task.score(view.bench.predict(inside_MD, "test"), targets).double()
        if gain_M.isfinite().all():
            scores["outside_gain"] = float(gain_M.mean())
            if len(gain_M) > 1:
                scores["outside_error"] = float(gain_M.std()) / math.sqrt(len(gain_M))
    return scores


def split(zoo: Zoo, populations: Mapping[str, Tensor]) -> dict[str, Parts]:
    """Return the parts of each population; of `original` those of each checkpoint beside the span of all others.

    Everything follows from products between networks and checkpoints, which one pass over windows of columns gives:
    with X the checkpoints' deviations and G = X X^T, a deviation y has the weights G^-1 X y inside. Of a checkpoint n,
    1 / (G^-1)_nn is its squared distance from what the others span.
    """
    count = len(zoo)
    if count < FEWEST:
        return {}
    sources = {source: theta_MD for source, theta_MD in populations.items() if source != ORIGINAL}
    gram_NN, length_N = torch.zeros(count, count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    across = {source: torch.zeros(len(theta_MD), count, dtype=torch.float64) for source, theta_MD in sources.items()}
    squares = {source: torch.zeros(2, len(theta_MD), dtype=torch.float64) for source, theta_MD in sources.items()}
    every = (zoo.theta_ND, *sources.values())
    for columns, block, _ in read(max(every, key=len), zoo.layout, *every):
        x_NW = block.to_free(zoo.theta_ND[:, columns]).double()
        length_N += x_NW.square().sum(dim=1)
        mean_W = x_NW.mean(dim=0)
        gram_NN.addmm_(x_NW.sub_(mean_W), x_NW.T)
        for source, theta_MD in sources.items():
            y_MW = block.to_free(theta_MD[:, columns]).double()
            squares[source][0] += y_MW.square().sum(dim=1)
            squares[source][1] += y_MW.sub_(mean_W).square().sum(dim=1)
            across[source].addmm_(y_MW, x_NW.T)
    if not (gram_NN.isfinite().all() and gram_NN.trace() > 0):
        return {}
    inverse_NN = _inverse(gram_NN)
    parts = {}
    for source, across_MN in across.items():
        (length_M, square_M), weight_MN = squares[source], across_MN @ inverse_NN
        left_M = square_M - 2 * (weight_MN * across_MN).sum(dim=1) + ((weight_MN @ gram_NN) * weight_MN).sum(dim=1)
        parts[source] = _parts(left_M, square_M, length_M, weight_MN)
    if ORIGINAL in populations:
        far_N, square_N = 1 / inverse_NN.diagonal(), gram_NN.diagonal() * (count / (count - 1)) ** 2
        weight_NN = torch.eye(count, dtype=torch.float64) - inverse_NN * far_N[:, None]
        parts[ORIGINAL] = _parts(far_N, square_N, length_N, weight_NN)
    return parts


def _inverse(gram_NN: Tensor) -> Tensor:
    """Return the inverse of a Gram matrix of deviations, among weights that sum to zero."""
    count = len(gram_NN)
    largest = float(torch.linalg.eigvalsh(gram_NN)[-1])
    square_N, vector_NN = torch.linalg.eigh(gram_NN + largest / count)  # weights that are all equal stand for nothing
    return (vector_NN / square_N.clamp_min(FLOOR * largest)) @ vector_NN.T - 1 / (count * largest)


def _parts(left_M: Tensor, square_M: Tensor, length_M: Tensor, weight_MN: Tensor) -> Parts:
    rounding_M = ROUNDED * (length_M / square_M).sqrt()
    share_M = (left_M.clamp_min(0) / square_M).sqrt().clamp_max(1)
    return Parts(share_M.where(rounding_M <= LOST, torch.nan), rounding_M, weight_MN)

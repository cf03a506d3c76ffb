"""Products of whole populations, layer by layer: their Gram matrices, their sums, and products themselves in windows.

M, N networks, D selected parameters, W columns of a window. What is no factor (biases) counts as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from pdiff.context import Context
from pdiff.mapped import Touched
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.adapters.factors import Pair, pairs
from pdiff_plugins.adapters.products.algebra import Factors, combined, double, explicit, gram
from pdiff_plugins.adapters.products.coordinates import rest

SAME = 1e-10
"""Of the largest variance between checkpoints: directions of less are none."""


def factors_of(pair: Pair, theta_MD: Tensor) -> Factors:
    """Return a layer's factors in float64."""
    return double(*pair.split(theta_MD))


def free(entry: Entry, theta_MD: Tensor) -> Tensor:
    """Return an entry that is no factor in coordinates without bounds, in float64."""
    return Layout((replace(entry, start=0),)).to_free(theta_MD[:, entry.columns]).double()


def grams(theta_MD: Tensor, theta_ND: Tensor, layout: Layout) -> Iterator[tuple[int, Tensor]]:
    """Yield of each layer, and of each further entry, its numbers and the inner products `[M, N]` of all pairs."""
    same, touched = theta_MD is theta_ND, Touched(theta_MD, theta_ND)
    for pair in pairs(layout):
        right = factors_of(pair, theta_ND)
        yield right.size, gram(right if same else factors_of(pair, theta_MD), right)
        touched(theta_MD[:, pair.a.start : pair.b.stop], theta_ND[:, pair.a.start : pair.b.stop])
    for entry in rest(layout):
        yield math.prod(entry.shape), free(entry, theta_MD) @ free(entry, theta_ND).T
    touched.end()


def windows(zoo: Zoo) -> Iterator[Tensor]:
    """Yield the products of all checkpoints `[N, W]`, some rows of one layer at a time, then what is no factor."""
    touched = Touched(zoo.theta_ND)
    for pair in pairs(zoo.layout):
        for (rows_NOI,) in explicit(factors_of(pair, zoo.theta_ND)):
            yield rows_NOI.flatten(1)
        touched(zoo.theta_ND[:, pair.a.start : pair.b.stop])
    touched.end()
    yield from (free(entry, zoo.theta_ND) for entry in rest(zoo.layout))


def mixed(zoo: Zoo, weight_MN: Tensor, ctx: Context) -> tuple[Tensor, Tensor]:
    """Return adapters theta_MD of weighted products, and the share of the products' energy that is lost, `[M]`.

    They are the average plus each checkpoint's deviation from it, weighted, as `maths.normalise.mixed` has them of
    vectors; each layer is cut to its adapters' rank, in balanced factors. Weights are float64.
    """
    share_MN = weight_MN + (1 - weight_MN.sum(dim=1, keepdim=True)) / len(zoo)
    theta_MD, energy_2M = ctx.empty(len(weight_MN), zoo.layout.dim), torch.zeros(2, len(weight_MN), dtype=torch.float64)
    touched = Touched(zoo.theta_ND, theta_MD)
    for pair in pairs(zoo.layout):
        cut = combined(share_MN, factors_of(pair, zoo.theta_ND), pair.rank, pair.groups)
        pair.write(theta_MD, *cut.factors)
        energy_2M += torch.stack([cut.lost_M, cut.whole_M])
        touched(zoo.theta_ND[:, pair.a.start : pair.b.stop], theta_MD[:, pair.a.start : pair.b.stop])
    for entry in rest(zoo.layout):
        sum_MW = (share_MN @ free(entry, zoo.theta_ND)).float()
        theta_MD[:, entry.columns] = Layout((replace(entry, start=0),)).from_free(sum_MW)
    touched.end()
    return theta_MD, share_of(*energy_2M)


def within(zoo: Zoo, theta_MD: Tensor) -> Tensor:
    """Return weights `[M, N]` of `mixed` that come nearest to adapters' products, before these are cut to a rank."""
    gram_NN = torch.stack([part_NN for _, part_NN in grams(zoo.theta_ND, zoo.theta_ND, zoo.layout)]).sum(dim=0)
    across_MN = torch.stack([part_MN for _, part_MN in grams(theta_MD, zoo.theta_ND, zoo.layout)]).sum(dim=0)
    mean_N = gram_NN.mean(dim=1)
    across_MN = across_MN - across_MN.mean(dim=1, keepdim=True) - mean_N + mean_N.mean()
    return across_MN @ torch.linalg.pinv(centred(gram_NN), rtol=SAME, hermitian=True)


def centred(gram_NN: Tensor) -> Tensor:
    """Return the inner products of deviations from the mean."""
    mean_N = gram_NN.mean(dim=1)
    return gram_NN - mean_N - mean_N[:, None] + mean_N.mean()


def share_of(lost_M: Tensor, whole_M: Tensor) -> Tensor:
    """Return the share of energy that is lost; of nothing, none."""
    return (lost_M / whole_M).where(whole_M > 0, 0.0)

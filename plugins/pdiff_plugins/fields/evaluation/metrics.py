"""Metrics of sets of shapes: whether generated ones are as real ones, all of them, and none of them a copy.

Shapes are rows `[M, P]` of what they are at P points; distances are root mean squares over points. G generated, R real,
T training shapes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pdiff_plugins.maths.manifolds import covered, distances
from pdiff_plugins.maths.neighbours import neighbours

COPY = 0.25
"""Of the distance that real shapes have from the nearest training shape: what is nearer is a copy."""


def apart(a_MP: Tensor, b_NP: Tensor) -> Tensor:
    """Return root mean squared differences `[M, N]`, in float64."""
    return distances(a_MP, b_NP) / a_MP.shape[1] ** 0.5


def metrics(generated_GP: Tensor, real_RP: Tensor) -> dict[str, float | None]:
    """Return how a set of shapes compares with as many real ones, by `compared`; both are cut to the smaller number."""
    count = min(len(generated_GP), len(real_RP))
    generated_GP, real_RP = generated_GP[:count].float(), real_RP[:count].float()
    pairs = (generated_GP, generated_GP), (generated_GP, real_RP), (real_RP, real_RP)
    return compared(*(apart(a, b) for a, b in pairs))


def compared(own_GG: Tensor, across_GR: Tensor, own_RR: Tensor) -> dict[str, float | None]:
    """Return how as many generated shapes as real ones compare, from the distances within and between the sets.

    `mmd`: mean distance of a real shape to the nearest generated one; `coverage`: share of the real ones that are
    nearest to some generated one (both Achlioptas et al. 2018, arXiv 1707.02392, section 4); `one_nna`: share of both
    whose nearest other is of their own set, 0.5 where they cannot be told apart (Yang et al. 2019, arXiv 1906.12320,
    section 5.1); `precision`, `recall`: see `manifolds`. None where a set has fewer than five members.
    """
    count = len(across_GR)
    if count < 5:
        return dict.fromkeys(("mmd", "coverage", "one_nna", "precision", "recall"))
    precision, recall = covered(own_GG, across_GR, own_RR)
    anywhere_G = across_GR.amin(dim=1).isfinite()
    return {
        "mmd": float(across_GR.amin(dim=0).mean()),
        "coverage": len(across_GR[anywhere_G].argmin(dim=1).unique()) / count,
        "one_nna": one_nearest_neighbour(own_GG, across_GR, own_RR),
        "precision": precision, "recall": recall,
    }  # fmt: skip


def one_nearest_neighbour(own_GG: Tensor, across_GR: Tensor, real_RR: Tensor) -> float:
    """Return the leave-one-out accuracy of telling the sets apart by the nearest neighbour; ties count half."""
    own_G = own_GG.clone().fill_diagonal_(torch.inf).amin(dim=1)
    real_R = real_RR.clone().fill_diagonal_(torch.inf).amin(dim=1)
    right = [_less(own_G, across_GR.amin(dim=1)), _less(real_R, across_GR.amin(dim=0))]
    return float(torch.cat(right).mean())


def _less(a: Tensor, b: Tensor) -> Tensor:
    return (a < b).double() + 0.5 * (a == b).double()


def nearest(shapes_MP: Tensor, train_TP: Tensor) -> tuple[Tensor, Tensor]:
    """Return (distance, index) of the training shape nearest to each shape, `[M]` each."""
    distance_M, index_M = neighbours(shapes_MP.float(), train_TP.float())
    return distance_M / shapes_MP.shape[1] ** 0.5, index_M

"""Improved precision and recall: whether samples lie where unseen checkpoints do, and all over where they do.

Kynkäänniemi et al. 2019, arXiv 1904.06991, section 3, in parameter space: the manifold of a population is the union of
balls around its members, each of which reaches to its k-th nearest other member.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pdiff_plugins.maths.neighbours import all_distances

NEIGHBOURS = 3
"""The paper's k."""
COLUMNS = 2**18
"""Columns that are held in float64 at a time."""


def precision_and_recall(theta_MD: Tensor, holdout_HD: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Return (precision, recall) of samples against held-out checkpoints.

    Precision is the share of samples inside the held-out ones' manifold, recall the share of held-out ones inside the
    samples'. NaN where either population has no k-th neighbour, that is, no more than k members.
    """
    if min(len(theta_MD), len(holdout_HD)) <= k:
        return float("nan"), float("nan")
    pairs = (theta_MD, theta_MD), (theta_MD, holdout_HD), (holdout_HD, holdout_HD)
    own_MM, apart_MH, own_HH = (all_distances(*pair) for pair in pairs)
    return covered(own_MM, apart_MH, own_HH, k)


def covered(own_MM: Tensor, apart_MH: Tensor, own_HH: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Return (precision, recall) from the distances within and between the populations.

    A member that is infinitely far from its k-th other has no ball.
    """
    reach_M, reach_H = reach(own_MM, k), reach(own_HH, k)
    precise = (apart_MH <= reach_H).any(dim=1)
    recalled = (apart_MH <= reach_M[:, None]).any(dim=0)
    return float(precise.double().mean()), float(recalled.double().mean())


def reach(apart_NN: Tensor, k: int) -> Tensor:
    """Return the distance of each member to its k-th nearest other, `[N]`; -1 where that is infinitely far."""
    kth_N = apart_NN.clone().fill_diagonal_(torch.inf).kthvalue(k, dim=1).values
    return kth_N.where(kth_N.isfinite(), -1.0)


def distances(a_MD: Tensor, b_ND: Tensor) -> Tensor:
    """Return all L2 distances, `[M, N]` in float64, without cancellation."""
    squares_MN = torch.zeros(len(a_MD), len(b_ND), dtype=torch.float64)
    for a, b in zip(a_MD.split(COLUMNS, dim=1), b_ND.split(COLUMNS, dim=1), strict=True):
        squares_MN += torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    return squares_MN.sqrt()

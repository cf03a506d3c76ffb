"""Cutting networks afterwards: the smallest weights become zero. M networks, D selected parameters, W weights."""

from __future__ import annotations

import torch
from torch import Tensor

from pdiff.zoo import Layout
from pdiff_plugins.bits.grid import matrices


def weights(layout: Layout) -> Tensor:
    """Return which of the D parameters are weights of matrices, their numbers `[W]`."""
    return torch.cat([torch.empty(0, dtype=torch.int64), *(_numbers(entry.columns) for entry in matrices(layout))])


def _numbers(columns: slice) -> Tensor:
    return torch.arange(columns.start, columns.stop)


def cut(theta_D: Tensor, weight_W: Tensor, keep: float) -> Tensor:
    """Return a network of which exactly the share `keep` of its weights remains, the largest over all matrices.

    Of weights of one size the earlier remain. Han et al. 2015, arXiv 1506.02626, by magnitude over the whole network.
    """
    order_W = theta_D[weight_W].abs().argsort(descending=True, stable=True)
    theta_D = theta_D.clone()
    theta_D[weight_W[order_W[round(keep * len(weight_W)) :]]] = 0.0
    return theta_D

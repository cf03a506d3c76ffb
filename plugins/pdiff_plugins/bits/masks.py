"""Which weights a network keeps: a weight of a matrix that is exactly zero is cut, all else is kept.

Shapes: M networks, D selected parameters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdiff.zoo import Layout
from pdiff_plugins.bits.grid import matrices


def columns(layout: Layout) -> Tensor:
    """Return the columns of the matrices' weights, in order."""
    parts = [torch.arange(entry.start, entry.stop) for entry in matrices(layout)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)


def kept(theta_MD: Tensor, layout: Layout) -> Tensor:
    """Return which numbers networks keep, bool `[M, D]`; those of no matrix always."""
    mask_MD = torch.ones_like(theta_MD, dtype=torch.bool)
    own = columns(layout).to(theta_MD.device)
    mask_MD[:, own] = theta_MD[:, own] != 0
    return mask_MD


def largest(size_MD: Tensor, layout: Layout, keep: float, each: bool = False) -> Tensor:
    """Return a mask, bool `[M, D]`, that keeps a share of each network's matrices: where `size_MD` is largest.

    `each`: that share of every matrix, and not of all together. Exactly as many are kept as `number` says.
    """
    mask_MD = torch.ones_like(size_MD, dtype=torch.bool)
    parts = [torch.arange(entry.start, entry.stop) for entry in matrices(layout)] if each else [columns(layout)]
    for part in parts:
        part = part.to(size_MD.device)
        best_MK = size_MD[:, part].topk(number(len(part), keep), dim=1, sorted=False).indices
        mask_MD[:, part] = torch.zeros(len(size_MD), len(part), dtype=torch.bool, device=part.device).scatter_(
            1, best_MK, True
        )
    return mask_MD


def number(count: int, keep: float) -> int:
    """Return how many of so many weights are kept: the whole number nearest to that share, and at least one."""
    return min(max(round(keep * count), 1), count)


def cut(theta_MD: Tensor, mask_MD: Tensor) -> Tensor:
    """Return networks without the weights that a mask, `[M, D]` or `[1, D]`, leaves out."""
    return theta_MD.masked_fill(~mask_MD, 0.0)


def share(theta_MD: Tensor, layout: Layout) -> Tensor:
    """Return which share of its matrices' weights each network keeps, float64 `[M]`."""
    return (theta_MD[:, columns(layout).to(theta_MD.device)] != 0).double().mean(dim=1)


def bits(count: int, keeps: int) -> float:
    """Return log2 of the number of masks that keep so many of so many weights: what naming one costs, in bits."""
    ways = math.lgamma(count + 1) - math.lgamma(keeps + 1) - math.lgamma(count - keeps + 1)
    return ways / math.log(2)


def overlap(mask_MD: Tensor, other_MD: Tensor, layout: Layout) -> Tensor:
    """Return of the weights that one mask or the other keeps the share that both keep, float64 `[M]`."""
    own = columns(layout).to(mask_MD.device)
    one, other = mask_MD[:, own], other_MD[:, own]
    return (one & other).sum(dim=1).double() / (one | other).sum(dim=1).clamp_min(1)

"""Chamfer distances between shapes in space. A, B shapes of two sets, K points on the surface of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

FARTHEST = 24.0
"""Chamfer distance between opposite corners of the cube -1..1: what stands in a table for infinitely far."""


def chamfer(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return the distances between clouds of points `[K, 3]`, `[A, B]` in float64.

    The mean squared distance of a's points to the nearest of b's, plus the same the other way round (Fan et al. 2017,
    arXiv 1612.00603, section 4, as means; so in Yang et al. 2019, arXiv 1906.12320). An empty cloud is infinitely far
    from any other, and at 0 from an empty one.
    """
    forth_AB = directed(a, b)
    return forth_AB + (forth_AB.T if a is b else directed(b, a).T)


def directed(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return the mean squared distance of each a's points to the nearest point of each b, `[A, B]`."""
    sizes_A = np.array([len(cloud) for cloud in a])
    points = np.concatenate([np.zeros((0, 3)), *(cloud.numpy() for cloud in a)])
    ends_A = sizes_A.cumsum()
    columns = [_to_one(points, ends_A - sizes_A, ends_A, cloud.numpy()) for cloud in b]
    return torch.from_numpy(np.stack(columns, axis=1))


def _to_one(points: np.ndarray, starts_A: np.ndarray, ends_A: np.ndarray, cloud_K3: np.ndarray) -> np.ndarray:
    """Return the mean squared distance of the points `start:end` to a cloud, `[A]`."""
    if not len(cloud_K3):
        return np.where(ends_A > starts_A, np.inf, 0.0)
    sums = np.concatenate([[0.0], np.square(cKDTree(cloud_K3).query(points)[0]).cumsum()])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_A = (sums[ends_A] - sums[starts_A]) / (ends_A - starts_A)
    return np.where(ends_A > starts_A, mean_A, np.inf)

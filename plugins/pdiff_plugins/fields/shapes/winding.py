"""Winding numbers: how often a mesh goes around a point. P points, F faces, V vertices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

AT_ONCE = 2**18
"""Pairs of a point and a face."""


def winding_number(points_P3: Tensor, vertices_V3: Tensor, faces_F3: Tensor) -> Tensor:
    """Return the solid angle of all faces seen from each point, in whole spheres, `[P]`.

    For a closed mesh it is 1 inside and 0 outside; with holes it changes smoothly there, so that 0.5 still tells in
    from out (Jacobson et al. 2013, Robust inside-outside segmentation, section 3). Float32: errors of about 1e-3.
    """
    size = max(1, AT_ONCE // max(1, len(faces_F3)))
    return torch.cat([_winding(part, vertices_V3, faces_F3) for part in points_P3.split(size)])


def _winding(points_P3: Tensor, vertices_V3: Tensor, faces_F3: Tensor) -> Tensor:
    """Return the sum of tan(angle / 2) = det(a, b, c) / (abc + (a b) c + ...) (van Oosterom & Strackee 1983, eq. 8).

    a, b, c lead from the point to the corners. Products of them are those of the corners, less terms that are linear in
    the point, so that matrices are multiplied instead of vectors being subtracted.
    """
    corners_3F3 = vertices_V3[faces_F3.T]
    length_3PF = [_lengths(points_P3, corner_F3) for corner_F3 in corners_3F3]
    square_P1 = points_P3.square().sum(dim=1, keepdim=True)
    below_PF = length_3PF[0] * length_3PF[1] * length_3PF[2]
    for first, second, third in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        a_F3, b_F3 = corners_3F3[first], corners_3F3[second]
        product_PF = torch.addmm((a_F3 * b_F3).sum(dim=1) + square_P1, points_P3, (a_F3 + b_F3).T, alpha=-1)
        below_PF.addcmul_(product_PF, length_3PF[third])
    return torch.atan2(_volumes(points_P3, corners_3F3), below_PF).sum(dim=1) / (2 * math.pi)


def _lengths(points_P3: Tensor, corner_F3: Tensor) -> Tensor:
    """Return the distances `[P, F]`."""
    squares_P1, squares_F = points_P3.square().sum(dim=1, keepdim=True), corner_F3.square().sum(dim=1)
    return torch.addmm(squares_P1 + squares_F, points_P3, corner_F3.T, alpha=-2).clamp_min_(0).sqrt_()


def _volumes(points_P3: Tensor, corners_3F3: Tensor) -> Tensor:
    """Return the determinants of the three vectors from each point to the corners of each face, `[P, F]`."""
    a_F3, b_F3, c_F3 = corners_3F3
    normal_F3 = torch.linalg.cross(b_F3 - a_F3, c_F3 - a_F3)
    return (a_F3 * normal_F3).sum(dim=1) - points_P3 @ normal_F3.T

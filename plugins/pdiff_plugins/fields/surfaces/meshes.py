"""Surfaces of shapes in space: found on a grid, sampled, drawn. V vertices, F faces, P points of the grid, K drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdiff_plugins.fields.shapes.space import require

OUTSIDE = 1e3
"""What stands around the grid, so that a surface that leaves it is closed at its outermost points."""


@dataclass(frozen=True)
class Mesh:
    """Triangles in the coordinates of the field, -1..1; none where there is no surface."""

    vertices: np.ndarray
    """`[V, 3]`, float32."""
    faces: np.ndarray
    """`[F, 3]`, seen from outside counterclockwise."""
    colours: np.ndarray | None = None
    """Of the vertices, `[V, 3]`, uint8."""

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def corners(self) -> np.ndarray:
        """The corners of each face, `[F, 3, 3]`."""
        return self.vertices[self.faces]

    @property
    def normals(self) -> np.ndarray:
        """The outward normal at each vertex, `[V, 3]`: the mean of its faces', by their areas."""
        corners_F33 = self.corners.astype(np.float64)
        face_F3 = np.cross(corners_F33[:, 1] - corners_F33[:, 0], corners_F33[:, 2] - corners_F33[:, 0])
        sum_V3 = np.zeros((len(self.vertices), 3))
        np.add.at(sum_V3, self.faces.ravel(), np.repeat(face_F3, 3, axis=0))
        return sum_V3 / np.linalg.norm(sum_V3, axis=1, keepdims=True).clip(1e-12)


NOTHING = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64))


def surface(values_P: Tensor) -> Mesh:
    """Return the surface where values on a cubic grid (see `polygons.grid`) change sign; they are < 0 inside.

    Marching cubes as in Lewiner et al. 2003. Raises UserError where scikit-image is missing.
    """
    require("skimage", "surfaces of shapes in space")
    from skimage.measure import marching_cubes

    side = round(len(values_P) ** (1 / 3))
    if not bool((values_P < 0).any()):
        return NOTHING
    volume_ZYX = np.pad(values_P.float().reshape(side, side, side).numpy(), 1, constant_values=OUTSIDE)
    cells_V3, faces_F3 = marching_cubes(volume_ZYX, 0.0, gradient_direction="ascent")[:2]
    return _mesh(cells_V3, faces_F3, side)


def _mesh(cells_V3: np.ndarray, faces_F3: np.ndarray, side: int) -> Mesh:
    """Return a mesh from vertices in cells of the padded grid, z first."""
    return Mesh(((2 * cells_V3[:, ::-1] - 1) / side - 1).astype(np.float32), faces_F3.astype(np.int64))


def surface_points(mesh: Mesh, count: int, generator: torch.Generator) -> Tensor:
    """Return points drawn evenly from the surface, `[K, 3]`; none where it has no area."""
    corners_F33 = torch.from_numpy(mesh.corners).double()
    first, second = corners_F33[:, 1] - corners_F33[:, 0], corners_F33[:, 2] - corners_F33[:, 0]
    area_F = torch.linalg.cross(first, second).norm(dim=1)
    if not float(area_F.sum()) > 0:
        return torch.zeros(0, 3)
    face_K = torch.multinomial(area_F, count, replacement=True, generator=generator)
    weights_K2 = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    weights_K2 = torch.where(weights_K2.sum(dim=1, keepdim=True) > 1, 1 - weights_K2, weights_K2)
    along = weights_K2[:, :1] * first[face_K] + weights_K2[:, 1:] * second[face_K]
    return (corners_F33[face_K, 0] + along).float()

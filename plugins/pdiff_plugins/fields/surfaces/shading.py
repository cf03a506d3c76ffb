"""Pictures of meshes: one light, no perspective, seen from above and the side. Imports matplotlib: import it lazily."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from torch import Tensor

from pdiff_plugins.fields.surfaces.meshes import Mesh

AZIMUTH, ELEVATION = math.radians(-60), math.radians(28)
LIGHT = np.array([-0.45, 0.75, 0.55])
"""In the picture's own axes: right, up, towards the viewer."""
REACH = 1.05
"""Half of a picture's side, in units of the coordinates."""
DARKEST, LIGHTEST = 0.12, 0.92
"""Grey of faces in the shade and in the light."""


def pictures(meshes: Sequence[Mesh], pixels: int, azimuth: float = AZIMUTH) -> Tensor:
    """Return a grey picture of each mesh, `[M, pixels, pixels]` (uint8); white where there is nothing."""
    figure = Figure(figsize=(1, len(meshes)), dpi=pixels)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 1), ylim=(0, len(meshes)))
    axes.set_axis_off()
    for number, mesh in enumerate(meshes):
        corners_F32, grey_F = _faces(mesh, azimuth)
        places_F32 = (corners_F32 / REACH + 1) / 2 + [0, len(meshes) - 1 - number]
        greys = np.repeat(grey_F[:, None], 3, axis=1)
        corners = cast("Sequence[np.ndarray]", places_F32)  # which the stubs want, and an array is quicker
        axes.add_collection(PolyCollection(corners, facecolors=greys, edgecolors=greys, linewidths=0.2))
    canvas.draw()
    pixels_HW = np.asarray(canvas.buffer_rgba())[..., 0]
    return torch.from_numpy(pixels_HW.copy()).reshape(len(meshes), pixels, pixels)


def camera(azimuth: float = AZIMUTH) -> np.ndarray:
    """Return the picture's axes, `[3, 3]`: right, up and towards the viewer, as rows."""
    ca, sa, ce, se = (f(a) for a in (azimuth, ELEVATION) for f in (math.cos, math.sin))
    return np.array([[-sa, ca, 0], [-se * ca, -se * sa, ce], [ce * ca, ce * sa, se]])


def _faces(mesh: Mesh, azimuth: float) -> tuple[np.ndarray, np.ndarray]:
    """Return what is seen of a mesh, the farthest first: corners `[F, 3, 2]` in the picture, and greys `[F]`."""
    corners_F33 = mesh.corners.astype(np.float64) @ camera(azimuth).T
    normal_F3 = np.cross(corners_F33[:, 1] - corners_F33[:, 0], corners_F33[:, 2] - corners_F33[:, 0])
    length_F = np.linalg.norm(normal_F3, axis=1)
    seen = normal_F3[:, 2] > 1e-9 * length_F.max(initial=0)
    corners_F33, normal_F3 = corners_F33[seen], normal_F3[seen] / length_F[seen, None]
    bright_F = np.square(0.5 + 0.5 * normal_F3 @ (LIGHT / np.linalg.norm(LIGHT)))
    order = corners_F33[:, :, 2].mean(axis=1).argsort(kind="stable")
    return corners_F33[order, :, :2], (DARKEST + (LIGHTEST - DARKEST) * bright_F)[order]

"""Pictures of neural fields, for evaluators to keep. M networks, F frames, H = W the side in pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from pdiff_plugins.drawing.kept import png
from pdiff_plugins.fields.shapes.plane import FieldSplit
from pdiff_plugins.fields.shapes.polygons import grid
from pdiff_plugins.fields.task import as_fields

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.components import Dataset
    from pdiff.view import Setup

AT_ONCE = 2**12
"""Points per batch: each is two or three numbers."""
PANEL, LARGE = 160, 440
"""Pixels along each side of the picture of a surface, among others and alone."""


class Renderer:
    """Draws networks of a run on a grid of any size."""

    def __init__(self, recipe: Setup, bench: Bench):
        self.dim, self.task, self.bench = dimensions(recipe.dataset), as_fields(recipe.task), bench

    def __call__(self, theta_MD: Tensor, side: int, panel: int = PANEL) -> Tensor:
        """Return pixels `[M, H, W]` (uint8): dark where the shape is, or its surface in space, then H = W = panel."""
        return self.drawn(self.values(theta_MD, side), panel)

    def values(self, theta_MD: Tensor, side: int) -> Tensor:
        """Return what networks give at the points of `field_shapes.grid`, `[M, P]`."""
        points_PC = grid(side, self.dim)
        split = FieldSplit(points_PC, torch.zeros(len(points_PC), 1), torch.zeros(1))
        return self.bench.predict(theta_MD, split, AT_ONCE)

    def drawn(self, values_MP: Tensor, panel: int = PANEL) -> Tensor:
        """Return pixels `[M, H, W]` of values on a whole grid."""
        if self.dim == 3:
            from pdiff_plugins.fields.surfaces.meshes import surface
            from pdiff_plugins.fields.surfaces.shading import pictures

            return pictures([surface(values_P) for values_P in self.task.signed(values_MP)], panel)
        side = round(values_MP.shape[1] ** 0.5)
        return to_grey(self.task.occupancy(values_MP)).reshape(-1, side, side)


def dimensions(dataset: Dataset) -> int:
    """Return 2 for fields in the plane, 3 for fields in space."""
    return getattr(dataset, "dim", 2)


def to_grey(occupancy: Tensor) -> Tensor:
    """Return occupancy 0..1 as uint8, 1 black."""
    return (255 * (1 - occupancy)).round().clamp(0, 255).to(torch.uint8)


def mosaic(pixels_RCHW: Tensor, line: int = 1) -> bytes:
    """Return rows and columns of pictures, a light line around each, as one PNG."""
    framed = functional.pad(pixels_RCHW, (line, line, line, line), value=200)
    return png(framed.transpose(1, 2).flatten(2, 3).flatten(0, 1).numpy())

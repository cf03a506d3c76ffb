"""Data sets of shapes in space: procedural solids. P points of a grid, Q points near a surface, S shapes."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pdiff.components import Dataset
from pdiff.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.data import DatasetSplits
    from pdiff_plugins.fields.shapes.solids import Solid

CANDIDATES = 8
"""Points drawn for each that is kept near a surface."""
EXTRA = "pip install 'neural-pdiff[fields3d]'"
"""What brings the packages that shapes in space need."""


class Shapes3d(Dataset):
    """Random tables, tori and mugs, with exact signed distance.

    Inside, where two parts of a table or a mug overlap, the distance is only a lower bound; outside it is exact.
    """

    name = "shapes3d"
    dim: ClassVar[int] = 3
    source: ClassVar[str] = "distances to primitives: Quilez, Distance functions"
    count: int = Field(800, gt=2, description="shapes, a third of each family")
    resolution: int = Field(32, ge=8, description="points along each side of the cube on which shapes are known")
    near: int = Field(2048, ge=0, description="further points of each training shape, close to its surface")
    target: Literal["occupancy", "distance"] = Field(
        "occupancy", description="occupancy in 0..1, or signed distance (then task.values = 'distance')"
    )
    sharpness: float = Field(25.0, gt=0, description="slope of the occupancy at the surface")
    validation: float = Field(0.05, ge=0, lt=1, description="share of the train shapes held out for selection")
    test_count: int = Field(200, gt=0, description="so many of the shapes are the test split")

    def foresee(self, ahead: Ahead) -> None:
        foresee_extra(ahead)

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. Raises UserError where no shape is left to train on."""
        import torch

        from pdiff_plugins.fields.shapes.plane import Near, cut
        from pdiff_plugins.fields.shapes.polygons import grid
        from pdiff_plugins.fields.shapes.solids import solids

        if self.test_count >= self.count:
            raise UserError(f"dataset.test_count: {self.test_count} leaves none of {self.count} shapes; lower it")
        points_P3, (shapes, labels_S) = grid(self.resolution, 3), solids(self.count, ctx.generator("shapes"))
        targets_PS = torch.stack([self._values(solid(points_P3)) for solid in shapes], dim=1)
        generator = ctx.generator("near")
        pairs = [close(solid, self.near, generator) for solid in shapes]
        near = Near(torch.stack([p for p, _ in pairs]), self._values(torch.stack([d for _, d in pairs])))
        return cut(points_P3, targets_PS, labels_S, self.test_count, self.validation, ctx, near if self.near else None)

    def _values(self, distances: Tensor) -> Tensor:
        return distances if self.target == "distance" else (-self.sharpness * distances).sigmoid()


def close(solid: Solid, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return `[count, 3]` points near the surface and their signed distances: the nearest of eight times as many."""
    import torch

    points = 2 * torch.rand(CANDIDATES * count, 3, generator=generator) - 1
    distances = solid(points)
    index = distances.abs().topk(count, largest=False).indices
    return points[index], distances[index]


def lacks(*packages: str) -> str:
    """Return the packages that are missing, as pip calls them, in words."""
    names = {"skimage": "scikit-image", "trimesh": "trimesh"}
    return " and ".join(names[package] for package in packages if importlib.util.find_spec(package) is None)


def foresee_extra(ahead: Ahead) -> None:
    """Say what the end of a run may ask for."""
    if missing := lacks("skimage", "trimesh"):
        ahead.note(f"shapes in space are drawn, measured and exported with {missing}: {EXTRA}")


def require(package: str, where: str) -> None:
    """Raise UserError where a package of the extra `fields3d` is missing."""
    if missing := lacks(package):
        raise UserError(f"{where}: needs {missing}, which is missing; {EXTRA}")

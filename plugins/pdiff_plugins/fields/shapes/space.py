"""Data sets of shapes in space: procedural solids. P points of a grid, Q points near a surface, S shapes."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pdiff.components import IF_SET, Dataset
from pdiff.errors import UserError
from pdiff_plugins.fields.family import OfShapes
from pdiff_plugins.fields.shapes.sentences import LEVELS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.data import DatasetSplits
    from pdiff_plugins.fields.shapes.solids import Solid

CANDIDATES = 8
"""Points drawn for each that is kept near a surface."""
SELECTION = 8192
"""Points of the selection split where every split has all shapes."""
EXTRA = "pip install 'neural-pdiff[fields3d]'"
"""What brings the packages that shapes in space need."""


class Shapes3d(Dataset):
    """Random tables, tori and mugs: exact signed distance, numbers and words.

    Inside, where two parts of a table or a mug overlap, the distance is only a lower bound; outside it is exact. A
    shape's description is its kind, width, depth, height, thickness and handle, and English sentences.
    """

    name = "shapes3d"
    dim: ClassVar[int] = 3
    source: ClassVar[str] = "distances to primitives: Quilez, Distance functions"
    count: int = Field(800, gt=2, description="shapes, a third of each family; with levels as long as each has more")
    resolution: int = Field(32, ge=8, description="points along each side of the cube on which shapes are known")
    near: int = Field(2048, ge=0, description="further points of each training shape, close to its surface")
    target: Literal["occupancy", "distance"] = Field(
        "occupancy", description="occupancy in 0..1, or signed distance (then task.values = 'distance')"
    )
    sharpness: float = Field(25.0, gt=0, description="slope of the occupancy at the surface")
    validation: float = Field(
        0.05, ge=0, lt=1, description="share of the train shapes held out for selection; read with test_count alone"
    )
    test_count: int = Field(
        200, ge=0,
        description="so many of the shapes are the test split; 0: each split has all shapes, at points of its own, as "
        "task shape takes them",
    )  # fmt: skip
    turned: bool = Field(True, json_schema_extra=IF_SET, description="whether each shape is turned a little, at random")
    levels: int = Field(
        0, ge=0, le=LEVELS, json_schema_extra=IF_SET,
        description="values that each size in a shape's sentence can have, all different shapes; 0: a continuum",
    )  # fmt: skip

    def foresee(self, ahead: Ahead) -> None:
        foresee_extra(ahead)
        task = ahead.recipe.task
        if isinstance(task, OfShapes) and self.test_count:
            ahead.lacks(
                f"dataset.test_count = {self.test_count}: task {task.name} asks each split for all shapes; set "
                "test_count = 0, and hold shapes out by collect.held_out"
            )
        if not isinstance(task, OfShapes) and not self.test_count:
            ahead.lacks(
                f"dataset.test_count = 0: task {task.name} takes a test split of other shapes; set test_count, such as "
                "200, or task.name = 'shape'"
            )

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. Raises UserError where no shape is left to train on."""
        import torch

        from pdiff_plugins.fields.shapes.families import labels, solids
        from pdiff_plugins.fields.shapes.plane import Near, cut, whole
        from pdiff_plugins.fields.shapes.polygons import grid

        if self.test_count >= self.count:
            raise UserError(f"dataset.test_count: {self.test_count} leaves none of {self.count} shapes; lower it")
        points_P3 = grid(self.resolution, 3)
        shapes, told = solids(self.count, ctx.generator("shapes"), self.levels, self.turned)
        abouts, labels_S = [one.about(self.levels) for one in told], labels(told)

        def known(points_P3: Tensor) -> Tensor:
            return torch.stack([self._values(solid(points_P3)) for solid in shapes], dim=1)

        generator = ctx.generator("near")
        pairs = [close(solid, self.near, generator) for solid in shapes]
        near = Near(torch.stack([p for p, _ in pairs]), self._values(torch.stack([d for _, d in pairs])))
        kept = near if self.near else None
        if not self.test_count:
            return whole(points_P3, self._others(ctx), known, labels_S, abouts, kept)
        return cut(points_P3, known(points_P3), labels_S, self.test_count, self.validation, ctx, kept, abouts)

    def _others(self, ctx: Context) -> tuple[Tensor, Tensor]:
        """Return points for selection, anywhere in the cube, and for scores: a grid that has none of the train's."""
        import torch

        from pdiff_plugins.fields.shapes.polygons import grid

        anywhere = 2 * torch.rand(SELECTION, 3, generator=ctx.generator("selection")) - 1
        return anywhere, grid(self.resolution - 1, 3)

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

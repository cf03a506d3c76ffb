"""Pictures of networks that are shapes or scenes. M networks, F frames, R rows, C columns, H = W the side in pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pdiff.errors import UserError
from pdiff_plugins.drawing.kept import png
from pdiff_plugins.fields.family import SHAPE
from pdiff_plugins.fields.shapes.plane import FieldSplit
from pdiff_plugins.fields.shapes.polygons import grid

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.components import Dataset
    from pdiff.data import About
    from pdiff.view import Setup, View
    from pdiff_plugins.fields.surfaces.meshes import Mesh

AT_ONCE = 2**12
"""Points per batch: each is two or three numbers."""
PANEL, LARGE = 160, 440
"""Pixels along each side of the picture of a surface, among others and alone."""
LINE, WHITE = 200, 255


class Renderer(Protocol):
    """Draws networks of a run."""

    dim: int
    """2 in the plane, 3 in space."""
    colour: bool
    sides: tuple[int, ...]
    """At which one network is drawn, to see what its resolution is."""

    def __call__(self, theta_MD: Tensor, side: int, panel: int = PANEL) -> Tensor:
        """Return pixels `[M, H, W]` or `[M, H, W, 3]` (uint8) of so many points along each side.

        Surfaces in space are found on so many cells, and drawn with H = W = panel.
        """
        ...

    def turned(self, theta_MD: Tensor, side: int, count: int, panel: int = PANEL) -> Tensor:
        """Return the networks from so many sides all around, `[M, count, H, W]` or `[M, count, H, W, 3]`.

        Raises UserError where there is no other side.
        """
        ...

    def beside(self, view: View, theta_MD: Tensor, side: int) -> Tensor:
        """Return the networks, and the shapes learnt that are nearest to them, `[2, M, H, W]` or `[2, M, H, W, 3]`."""
        ...

    def truth(self, view: View, abouts: Sequence[About]) -> Tensor:
        """Return what described shapes of the dataset are, `[M, H, W]` or `[M, H, W, 3]`."""
        ...

    def like_truth(self, theta_MD: Tensor, abouts: Sequence[About]) -> Tensor:
        """Return networks, each for its shape, as `truth` shows that."""
        ...

    def meshes(self, theta_MD: Tensor, side: int, level: float) -> Iterator[Mesh]:
        """Yield each network's surface, found on so many cells; of a density at that share of its greatest."""
        ...


@runtime_checkable
class Draws(Protocol):
    """A task whose networks can be drawn."""

    name: ClassVar[str]

    def renderer(self, recipe: Setup, bench: Bench) -> Renderer:
        """Return what draws a run's networks."""
        ...


class Shapes(Protocol):
    """What is read of a task of fields."""

    def signed(self, values: Tensor) -> Tensor: ...
    def occupancy(self, values: Tensor) -> Tensor: ...


class FieldRenderer:
    """Draws networks that are shapes, on a grid of any size. See `Renderer`."""

    colour = False

    def __init__(self, task: Shapes, recipe: Setup, bench: Bench):
        self.dim, self.task, self.bench = dimensions(recipe.dataset), task, bench
        self.sides: tuple[int, ...] = {2: (8, 32, 128, 512), 3: (12, 24, 48, 96)}[self.dim]

    def __call__(self, theta_MD: Tensor, side: int, panel: int = PANEL) -> Tensor:
        """See `Renderer`: dark where the shape is, or its surface in space."""
        return self.drawn(self.values(theta_MD, side), panel)

    def values(self, theta_MD: Tensor, side: int) -> Tensor:
        """Return what networks give at the points of `polygons.grid`, `[M, P]`."""
        points_PC = grid(side, self.dim)
        split = FieldSplit(points_PC, torch.zeros(len(points_PC), 1), torch.zeros(1))
        return self.bench.predict(theta_MD, split, AT_ONCE)

    def drawn(self, values_MP: Tensor, panel: int = PANEL) -> Tensor:
        """Return pixels `[M, H, W]` of values on a whole grid."""
        if self.dim == 3:
            from pdiff_plugins.fields.surfaces.shading import pictures

            return pictures(self._surfaces(values_MP), panel)
        side = round(values_MP.shape[1] ** 0.5)
        return to_grey(self.task.occupancy(values_MP)).reshape(-1, side, side)

    def turned(self, theta_MD: Tensor, side: int, count: int, panel: int = PANEL) -> Tensor:
        """See `Renderer.turned`."""
        if self.dim == 2:
            raise UserError("shapes in the plane have one side; leave the turntable and views out")
        from pdiff_plugins.fields.surfaces.shading import AZIMUTH, pictures

        surfaces = self._surfaces(self.values(theta_MD, side))
        return torch.stack([pictures(surfaces, panel, AZIMUTH + turn) for turn in turns(count)], dim=1)

    def beside(self, view: View, theta_MD: Tensor, side: int) -> Tensor:
        """See `Renderer.beside`: at the points of the train split. Raises UserError where these are no whole grid."""
        from pdiff_plugins.fields.evaluation.metrics import nearest
        from pdiff_plugins.fields.evaluation.sets import learnt

        train_TP, side = learnt(view), self._side(view.targets("train"))
        drawn_MP = self.values(theta_MD, side)
        _, index_M = nearest(drawn_MP, train_TP)
        return torch.stack([self.drawn(drawn_MP), self.drawn(train_TP[index_M])])

    def truth(self, view: View, abouts: Sequence[About]) -> Tensor:
        """See `Renderer.truth`."""
        return self.drawn(view.targets("train").T[[about[SHAPE] for about in abouts]])

    def like_truth(self, theta_MD: Tensor, abouts: Sequence[About]) -> Tensor:
        """See `Renderer.like_truth`."""
        return self.drawn(self.values(theta_MD, self._side(self.bench.examples("train").targets)))

    def meshes(self, theta_MD: Tensor, side: int, level: float) -> Iterator[Mesh]:
        """See `Renderer.meshes`."""
        yield from self._surfaces(self.values(theta_MD, side))

    def _side(self, targets_PS: Tensor) -> int:
        """Return the side of the grid on which shapes are known. Raises UserError where there is none."""
        side = round(len(targets_PS) ** (1 / self.dim))
        if targets_PS.ndim != 2 or side**self.dim != len(targets_PS):
            raise UserError("evaluate renderings: draws fields that are known on a square or cube; leave it out")
        return side

    def _surfaces(self, values_MP: Tensor) -> list[Mesh]:
        from pdiff_plugins.fields.surfaces.meshes import surface

        return [surface(values_P) for values_P in self.task.signed(values_MP)]


def renderer_of(recipe: Setup, bench: Bench, what: str) -> Renderer:
    """Return what draws a run's networks. Raises UserError, said by `what`, where its task draws none."""
    if not isinstance(recipe.task, Draws):
        raise UserError(
            f"{what}: draws networks that are shapes or scenes, of tasks such as field and radiance, and this run is "
            f"of task {recipe.task.name}"
        )
    return recipe.task.renderer(recipe, bench)


def turns(count: int) -> list[float]:
    """Return angles once around, in radians, the first 0."""
    return [2 * np.pi * number / count for number in range(count)]


def dimensions(dataset: Dataset) -> int:
    """Return 2 for fields in the plane, 3 for fields in space."""
    return getattr(dataset, "dim", 2)


def to_grey(occupancy: Tensor) -> Tensor:
    """Return occupancy 0..1 as uint8, 1 black."""
    return (255 * (1 - occupancy)).round().clamp(0, 255).to(torch.uint8)


def tiled(pixels_RCHW: Tensor, line: int = 1) -> np.ndarray:
    """Return rows and columns of pictures, grey or in colour, with a light line around each, as one."""
    flat = (0, 0) if pixels_RCHW.ndim == 5 else ()
    framed = functional.pad(pixels_RCHW, (*flat, line, line, line, line), value=LINE)
    return framed.transpose(1, 2).flatten(2, 3).flatten(0, 1).numpy()


def mosaic(pixels_RCHW: Tensor, line: int = 1) -> bytes:
    """Return rows and columns of pictures, grey or in colour, a light line around each, as one PNG."""
    return png(tiled(pixels_RCHW, line))


def in_rows(pixels_MHW: Tensor, columns: int) -> Tensor:
    """Return pictures in rows of so many, `[R, columns, H, W]` or with colours, the last filled up with white."""
    missing = pixels_MHW.new_full((-len(pixels_MHW) % columns, *pixels_MHW.shape[1:]), WHITE)
    return torch.cat([pixels_MHW, missing]).unflatten(0, (-1, columns))

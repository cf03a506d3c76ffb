"""Pictures of scenes, from any side, and their surfaces. M networks, H = W the side in pixels, P points, V vertices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from pdiff_plugins.fields.evaluation.pictures import PANEL, turns
from pdiff_plugins.fields.evaluation.sets import shapes
from pdiff_plugins.fields.family import SHAPE
from pdiff_plugins.fields.shapes.polygons import grid
from pdiff_plugins.fields.surfaces.meshes import NOTHING, Mesh, surface
from pdiff_plugins.radiance.rays import RaySplit, around

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.data import About
    from pdiff.view import View

AZIMUTH, ELEVATION = math.radians(-60), math.radians(36)
DISTANCE, FIELD = 3.2, 0.6
"""Of the camera from the origin, and the angle of its field of view, which holds what lies within 0.94 of it."""
RAYS, POINTS = 128, 2**15
"""At a time of all networks; points, of one."""
HAZE = 0.5
"""Density up to which nothing is a surface: of so much all around, a third of what lies behind is seen through."""
FEW, SMALL = 3, 16
"""Views, and pixels along their sides, by which scenes that have cameras of their own are compared."""


class Scene(Protocol):
    """What is read of the task."""

    def field(self, model: Any, points_P6: Tensor) -> tuple[Tensor, Tensor]: ...


class SceneRenderer:
    """Draws networks that are scenes in colour, before white. See `fields.evaluation.pictures.Renderer`."""

    dim, colour = 3, True
    sides: tuple[int, ...] = (16, 32, 64, 128)

    def __init__(self, task: Scene, bench: Bench):
        self.task, self.bench = task, bench

    def __call__(self, theta_MD: Tensor, side: int, panel: int = PANEL) -> Tensor:
        """See `Renderer`; a pixel is a ray, whatever `panel` says."""
        return self._around(theta_MD, side, [0.0])[:, 0]

    def turned(self, theta_MD: Tensor, side: int, count: int, panel: int = PANEL) -> Tensor:
        """See `Renderer.turned`."""
        return self._around(theta_MD, side, turns(count))

    def seen(self, theta_MD: Tensor, segments_E6: Tensor) -> Tensor:
        """Return what networks show along rays, `[M, E, 3]` in 0..1."""
        hit_E = (segments_E6[:, 3:] != segments_E6[:, :3]).any(dim=1)
        colours_ME3 = torch.ones(len(theta_MD), len(segments_E6), 3)
        if hit_E.any():
            count = int(hit_E.sum())
            split = RaySplit(segments_E6[hit_E], torch.zeros(count, 1, 3), [{}], (1, 1, count))
            colours_ME3[:, hit_E] = self.bench.predict(theta_MD, split, RAYS)
        return colours_ME3

    def beside(self, view: View, theta_MD: Tensor, side: int) -> Tensor:
        """See `Renderer.beside`: both as networks draw them. Which is nearest say the pictures kept for scores.

        Where scenes have cameras of their own, pictures of their networks from a few sides say it.
        """
        split = self.bench.examples("test")
        assert isinstance(split, RaySplit)
        if split.segments.ndim == 2:
            drawn_ME3 = self.seen(theta_MD, split.segments)
            known_NE3 = split.targets[:, shapes(view.zoo)].transpose(0, 1)
        else:
            drawn_ME3 = self.turned(theta_MD, SMALL, FEW).flatten(1, 3).float()
            known_NE3 = self.turned(view.zoo.theta_ND, SMALL, FEW).flatten(1, 3).float()
        nearest_M = torch.cdist(drawn_ME3.flatten(1), known_NE3.flatten(1)).argmin(dim=1)
        return self(torch.cat([theta_MD, view.zoo.theta_ND[nearest_M]]), side).unflatten(0, (2, -1))

    def truth(self, view: View, abouts: Sequence[About]) -> Tensor:
        """See `Renderer.truth`: the first view that is kept for scores."""
        split = self._first_view()
        return torch.cat([to_bytes(split.targets[:, about[SHAPE]])[None] for about in abouts]).unflatten(
            1, split.shape[1:]
        )

    def like_truth(self, theta_MD: Tensor, abouts: Sequence[About]) -> Tensor:
        """See `Renderer.like_truth`."""
        split = self._first_view()
        if split.segments.ndim == 2:
            colours_ME3 = self.seen(theta_MD, split.segments)
        else:
            each = zip(theta_MD.split(1), abouts, strict=True)
            colours_ME3 = torch.cat([self.seen(theta_1D, split.segments[:, to[SHAPE]]) for theta_1D, to in each])
        return to_bytes(colours_ME3).unflatten(1, split.shape[1:])

    def _first_view(self) -> RaySplit:
        split = self.bench.examples("test")
        assert isinstance(split, RaySplit)
        _, height, width = split.shape
        count = height * width
        return replace(split, segments=split.segments[:count], targets=split.targets[:count], shape=(1, height, width))

    @torch.no_grad()
    def meshes(self, theta_MD: Tensor, side: int, level: float) -> Iterator[Mesh]:
        """See `Renderer.meshes`: what lies in the unit ball, in the colour that is seen from outside."""
        points_P3 = grid(side, 3)
        outside_P = points_P3.norm(dim=1) > 1
        for theta_1D in theta_MD.split(1):
            density_P = self._at(theta_1D, points_P3, -points_P3)[0].masked_fill(outside_P, 0)
            most = float(density_P.max())
            yield self._coloured(surface(level * most - density_P), theta_1D) if most > HAZE else NOTHING

    def _coloured(self, mesh: Mesh, theta_1D: Tensor) -> Mesh:
        inward_V3 = torch.from_numpy(-mesh.normals).float()
        colour_V3 = self._at(theta_1D, torch.from_numpy(mesh.vertices), inward_V3)[1]
        return replace(mesh, colours=to_bytes(colour_V3).numpy())

    def _at(self, theta_1D: Tensor, points_P3: Tensor, towards_P3: Tensor) -> tuple[Tensor, Tensor]:
        """Return a network's densities `[P]` and colours `[P, 3]` at points seen in directions, on the CPU."""
        objective = self.bench.objective
        device = next(objective.model.parameters()).device
        both_P6 = torch.cat([points_P3, torch.nn.functional.normalize(towards_P3, dim=1)], dim=1)

        def of(some_P6: Tensor) -> tuple[Tensor, Tensor]:
            out_PO = objective.outputs(theta_1D.to(device), some_P6.to(device))[0]
            density_P, colour_P3 = self.task.field(lambda _: out_PO, some_P6)
            return density_P.cpu(), colour_P3.cpu()

        density, colour = zip(*map(of, both_P6.split(POINTS)), strict=True)
        return torch.cat(density), torch.cat(colour)

    def _around(self, theta_MD: Tensor, side: int, angles: Sequence[float]) -> Tensor:
        """Return pixels `[M, len(angles), side, side, 3]` of cameras turned by the angles."""
        azimuths = [AZIMUTH + angle for angle in angles]
        segments_E6 = around(azimuths, [ELEVATION] * len(angles), side, DISTANCE, FIELD)
        return to_bytes(self.seen(theta_MD, segments_E6)).unflatten(1, (len(angles), side, side))


def to_bytes(colours: Tensor) -> Tensor:
    """Return colours 0..1 as uint8."""
    return (255 * colours).round().clamp(0, 255).to(torch.uint8)

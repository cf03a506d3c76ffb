"""What sets of shapes are compared by: in the plane at points, in space by surfaces. T training, R test shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.view import ORIGINAL
from pdiff_plugins.fields.evaluation.metrics import COPY, compared, metrics, nearest
from pdiff_plugins.fields.evaluation.sets import real
from pdiff_plugins.fields.surfaces.chamfer import FARTHEST, chamfer
from pdiff_plugins.fields.surfaces.meshes import surface, surface_points
from pdiff_plugins.fields.task import as_fields
from pdiff_plugins.maths.median import median
from pdiff_plugins.maths.overlap import iou

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View


class Plane:
    """Compares shapes by their root mean squared difference at the points of the test split."""

    def __init__(self, view: View, ctx: Context):
        self.inside = as_fields(view.recipe.task).inside
        self.train_TP, self.test_RP = real(view)
        self.real_median = median(nearest(self.test_RP, self.train_TP)[0])
        self.count, self.ctx = len(self.test_RP), ctx

    def real(self) -> dict[str, Any]:
        """Return what as many training shapes as there are test shapes give, and how far test shapes lie from them."""
        order = torch.randperm(len(self.train_TP), generator=self.ctx.generator("real"))
        result = metrics(self.train_TP[order[: len(self.test_RP)]], self.test_RP)
        return result | {"to_train": self.real_median, "train_iou": self._train_iou(self.test_RP), "copies": 0.0}

    def source(self, shapes_MP: Tensor) -> dict[str, Any]:
        """Return the scores of a set of drawn shapes."""
        to_train_M, _ = nearest(shapes_MP, self.train_TP)
        copies = float((to_train_M < COPY * self.real_median).double().mean())
        result = {"to_train": median(to_train_M), "train_iou": self._train_iou(shapes_MP), "copies": copies}
        return metrics(shapes_MP, self.test_RP) | result

    def _train_iou(self, shapes_MP: Tensor) -> float:
        return median(iou(self.inside(shapes_MP), self.inside(self.train_TP)).amax(dim=1))


class Space:
    """Compares shapes by the Chamfer distance between points drawn from their surfaces.

    The nearest training shape is the one with the largest IoU. Copies are told by what networks draw: no network draws
    its shape exactly, and a copy of a network draws what that network draws. Points are drawn alike for every set, so
    that the scores of one do not depend on which others there are.
    """

    def __init__(self, view: View, ctx: Context, points: int, most: int):
        self.task, self.ctx, self.points, self.most = as_fields(view.recipe.task), ctx, points, most
        self.train_TP, self.test_RP = real(view)
        self.inside_TP = self.task.inside(self.train_TP)
        self.originals_NP = self.task.inside(view.predictions(ORIGINAL, "test"))
        among_NN = iou(self.originals_NP, self.originals_NP).fill_diagonal_(0)
        self.usual = median(1 - among_NN.amax(dim=1))
        self.real_clouds = self.clouds(self.test_RP[:most], "test")
        self.count = len(self.real_clouds)
        self.real_RR = chamfer(self.real_clouds, self.real_clouds)

    def clouds(self, shapes_MP: Tensor, role: str) -> list[Tensor]:
        """Return points on the surface of each shape, `[K, 3]`; none for a shape that has no surface.

        Sets that are compared have different roles: with the same points, equal shapes would have no distance.
        """
        generator = self.ctx.generator("surface", role)
        return [surface_points(mesh, self.points, generator) for mesh in map(surface, self.task.signed(shapes_MP))]

    def real(self) -> dict[str, Any]:
        """Return what training shapes, drawn at random, give, and how far test shapes lie from training shapes."""
        order = torch.randperm(len(self.train_TP), generator=self.ctx.generator("real"))
        result = self._compared(self.clouds(self.train_TP[order[: self.most]], "drawn"))
        return result | self._to_train(self.test_RP[: self.most], self.real_clouds) | {"copies": 0.0}

    def source(self, shapes_MP: Tensor) -> dict[str, Any]:
        """Return the scores of a set of drawn shapes."""
        clouds = self.clouds(shapes_MP[: self.most], "drawn")
        inside_MP = self.task.inside(shapes_MP)
        copied_M = 1 - iou(inside_MP, self.originals_NP).amax(dim=1) < COPY * self.usual
        return self._compared(clouds) | self._to_train(shapes_MP[: self.most], clouds) | {
            "copies": float((copied_M & inside_MP.any(dim=1)).double().mean()),
            "empty": sum(not len(cloud) for cloud in clouds),
        }  # fmt: skip

    def _compared(self, clouds: list[Tensor]) -> dict[str, float | None]:
        count = min(len(clouds), self.count)
        clouds = clouds[:count]
        result = compared(
            chamfer(clouds, clouds), chamfer(clouds, self.real_clouds[:count]), self.real_RR[:count, :count]
        )
        return result | ({"mmd": min(result["mmd"], FARTHEST)} if result["mmd"] is not None else {})

    def _to_train(self, shapes_MP: Tensor, clouds: list[Tensor]) -> dict[str, float]:
        """Return the medians of the distance and the IoU to the nearest training shape."""
        best = iou(self.task.inside(shapes_MP), self.inside_TP).max(dim=1)
        others = self.clouds(self.train_TP[best.indices], "train")
        apart_M = torch.stack([chamfer([a], [b])[0, 0] for a, b in zip(clouds, others, strict=True)])
        return {"to_train": min(median(apart_M), FARTHEST), "train_iou": median(best.values)}

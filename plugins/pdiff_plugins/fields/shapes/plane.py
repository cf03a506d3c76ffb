"""Data sets of neural fields: an example is a point, a datum is a shape. P points, C coordinates, S shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff.components import Dataset

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.data import About, Batch, DatasetSplits


@dataclass(frozen=True)
class Near:
    """Points near the surface of each of S shapes, `[S, Q, C]`, and what that shape is there, `[S, Q]`."""

    points: Tensor
    values: Tensor

    def __getitem__(self, shapes: Any) -> Near:
        return Near(self.points[shapes], self.values[shapes])

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return at most so many of each shape's points, `[S, count, C]`, and their values `[count, S]`."""
        import torch

        index = torch.randperm(self.points.shape[1], generator=generator)[:count]
        return self.points[:, index], self.values[:, index].T


@dataclass(frozen=True)
class FieldSplit:
    """Points `[P, C]` in -1..1, and what each of the split's shapes is there."""

    inputs: Tensor
    targets: Tensor
    """`[P, S]`: occupancy in 0..1, or signed distance, below zero inside."""
    labels: Tensor
    """`[S]`, the class of each shape."""
    near: Near | None = None
    """Further points, of each shape its own: in space most of the others lie far from any surface."""
    abouts: Sequence[About] = ()
    """What each shape is, where that is described (see `OfShapes`)."""

    def __len__(self) -> int:
        """Return the number of points; none where there is no shape."""
        return len(self.inputs) if self.targets.shape[1] else 0

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the points `index`; see `pdiff.data.Split`."""
        from pdiff.data import Batch

        return Batch(self.inputs[index], self.targets[index]).to(device)


def cut(
    points_PC: Tensor, targets_PS: Tensor, labels_S: Tensor, tests: int, share: float, ctx: Context,
    near: Near | None = None, abouts: Sequence[About] = (),
) -> DatasetSplits:  # fmt: skip
    """Return the splits: the last `tests` shapes are test, a share of the others, drawn by the seed, validation.

    A share above zero is at least one shape. Raises UserError where no shape is left to train on.
    """
    import torch

    from pdiff.data import DatasetSplits, holdout
    from pdiff.errors import UserError

    end = max(0, len(labels_S) - tests)
    train, validation = holdout(end, max(share, 1 / max(1, end)) if share else 0, ctx.generator("validation"))
    if not len(train):
        taken = f"{tests} test and {len(validation)} validation shapes leave none of {len(labels_S)} to train on"
        raise UserError(f"dataset: {taken}; lower its test, test_count or validation, or have more shapes")

    def split(index: Tensor) -> FieldSplit:
        told = [abouts[number] for number in index.tolist()] if abouts else ()
        own = near[index] if near else None
        return FieldSplit(points_PC, targets_PS[:, index].contiguous(), labels_S[index], own, told)

    test = torch.arange(end, len(labels_S))
    return DatasetSplits(split(train), split(validation), split(test), (points_PC.shape[1],), 1)


def whole(
    points_PC: Tensor, others: tuple[Tensor, Tensor], known: Callable[[Tensor], Tensor], labels_S: Tensor,
    abouts: Sequence[About], near: Near | None,
) -> DatasetSplits:  # fmt: skip
    """Return splits that have all shapes each, at points of their own; `known` says what shapes are at points."""
    from pdiff.data import DatasetSplits

    train = FieldSplit(points_PC, known(points_PC), labels_S, near, abouts)
    validation, test = (FieldSplit(points, known(points), labels_S, None, abouts) for points in others)
    return DatasetSplits(train, validation, test, (points_PC.shape[1],), 1)


class DigitFields(Dataset):
    """scikit-learn's 1,797 digits as soft occupancy: 1 on the stroke, 0 off it."""

    name = "digit_fields"
    source: ClassVar[str] = "Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits, test part"
    side: int = Field(32, ge=8, description="points along each side of the square on which digits are known")
    sharpness: float = Field(10.0, gt=0, description="slope of the occupancy at the edge of a stroke")
    validation: float = Field(0.05, ge=0, lt=1, description="share of the train shapes held out for selection")
    test_count: int = Field(500, gt=0, lt=1700, description="so many digits are the test split")

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. The test split is drawn at random, alike for every seed.

        In the order of the file, its writers would not be those of the train split. Raises UserError where no shape is
        left to train on.
        """
        import torch
        from sklearn.datasets import load_digits
        from torch.nn import functional as F

        from pdiff_plugins.fields.shapes.polygons import grid

        pixels, labels = load_digits(return_X_y=True)
        images = F.pad(torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 16, (1, 1, 1, 1))
        images = F.interpolate(images, size=(self.side, self.side), mode="bicubic")
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        occupancy_SP = torch.sigmoid((images[order] - 0.45) * self.sharpness).flatten(1)
        labels_S = torch.from_numpy(labels)[order]
        return cut(grid(self.side), occupancy_SP.T, labels_S, self.test_count, self.validation, ctx)


class Shapes2d(Dataset):
    """Random stars, gears and letters, with exact signed distance."""

    name = "shapes2d"
    source: ClassVar[str] = "distance to a polygon: Quilez, Distance functions in 2D, sdPolygon"
    count: int = Field(800, gt=2, description="shapes, a third of each kind")
    side: int = Field(32, ge=8, description="points along each side of the square on which shapes are known")
    target: Literal["occupancy", "distance"] = Field(
        "occupancy", description="occupancy in 0..1, or signed distance (then task.values = 'distance')"
    )
    sharpness: float = Field(25.0, gt=0, description="slope of the occupancy at the edge of a shape")
    validation: float = Field(0.05, ge=0, lt=1, description="share of the train shapes held out for selection")
    test_count: int = Field(200, gt=0, description="so many of the shapes are the test split")

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. Raises UserError where no shape is left to train on."""
        import torch

        from pdiff.errors import UserError
        from pdiff_plugins.fields.shapes.polygons import grid, polygon_distance, polygons

        if self.test_count >= self.count:
            raise UserError(f"dataset.test_count: {self.test_count} leaves none of {self.count} shapes; lower it")
        points = grid(self.side)
        corners, labels = polygons(self.count, ctx.generator("shapes"))
        targets_PS = torch.stack([polygon_distance(points, corners_K2) for corners_K2 in corners], dim=1)
        if self.target == "occupancy":
            targets_PS = torch.sigmoid(-self.sharpness * targets_PS)
        return cut(points, targets_PS, labels, self.test_count, self.validation, ctx)

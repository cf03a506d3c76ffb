"""The task of shapes that are described: a network is one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.errors import UserError
from pdiff_plugins.fields.family import OfShapes
from pdiff_plugins.fields.task import FieldTask

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.data import Batch, DatasetSplits


class Shape(OfShapes, FieldTask):
    """Networks as shapes, each a shape of its own that the dataset describes.

    Each network's loss is that of its own shape, occupancy or signed distance at points; its score is the IoU with it.
    A point is wrong that lies inside of one and outside of the other.
    """

    name = "shape"
    metric = "iou"
    unit = "%"
    source: ClassVar[str] = "HyperDiffusion, arXiv 2303.17015, section 3.1"

    def tasks(
        self, counts: Mapping[str, int], data: DatasetSplits, generator: torch.Generator
    ) -> dict[str, list[dict[str, Any]]]:
        """See `Family.tasks`. Raises UserError where splits have other shapes than those that are described."""
        parts = super().tasks(counts, data, generator)
        count = len(data.train.abouts)  # type: ignore[attr-defined]
        for name in ("train", "validation", "test"):
            split = data.split(name)
            if len(split) and split.targets.shape[1:] != (count,):
                raise UserError(
                    f"task {self.name!r}: asks each split for all {count} shapes that are described, and the {name} "
                    f"split has targets of {list(split.targets.shape[1:])}; of shapes3d set test_count = 0"
                )
        return parts

    def loss(self, model: Any, batch: Batch) -> Tensor:
        from torch.nn import functional as F

        out_B = model(batch.inputs)[:, 0]
        if self.values == "distance":
            return F.mse_loss(out_B, batch.targets)
        return F.binary_cross_entropy_with_logits(out_B, batch.targets)

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        from pdiff_plugins.maths.overlap import iou

        return iou(self.inside(predictions), self.inside(targets)[None])[:, 0]

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return self.inside(predictions) != self.inside(targets)

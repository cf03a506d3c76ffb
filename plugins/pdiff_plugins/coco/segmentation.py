"""The task of naming every pixel's class, and fully convolutional networks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveInt

from pdiff import hookimpl
from pdiff.components import Architecture, Task
from pdiff.errors import UserError
from pdiff.files import PRETRAINED
from pdiff_plugins.networks.inputs import refuse_pretrained

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.components import Ahead
    from pdiff.data import Batch

IGNORED = 255
FCN = "Long, Shelhamer and Darrell 2015, Fully Convolutional Networks, arXiv 1411.4038"


class Segmentation(Task):
    """Classes of all pixels, scored by mean intersection over union.

    The network gives {"out": logits `[B, K, H, W]`}, as torchvision's do; pixels whose target is 255 are not counted.
    The score is the mean over classes of intersection over union, each summed over the data set; classes that are
    neither there nor predicted are left out. An image is wrong where the same mean, of its own classes, is below 0.5.
    """

    name = "segmentation"
    source: ClassVar[str] = FCN + ", section 5 (mean IU)"
    metric = "mIoU"
    unit = "%"
    classes: int = Field(21, gt=1, lt=255, description="K, the network's outputs, background included")

    def checked(self, targets: Tensor, outputs: int) -> Tensor:
        """See `Task.checked`. Raises UserError where no pixel counts, or the class of one is none of `classes`."""
        counted = targets != IGNORED
        if not counted.any():
            raise UserError(
                f"no pixel of its {len(targets)} examples counts: all are {IGNORED}, the number of no class"
            )
        outside = counted & ((targets < 0) | (targets >= self.classes))
        if outside.any():
            example, *place = outside.nonzero()[0].tolist()
            raise UserError(
                f"example {example}: the class of pixel {place} is {int(targets[(example, *place)])}, where 0 to "
                f"{self.classes - 1} (task.classes = {self.classes}) or {IGNORED} are expected"
            )
        return targets

    def loss(self, model: Any, batch: Batch) -> Tensor:
        from torch.nn.functional import cross_entropy

        logits, targets = self._logits(model, batch.inputs), batch.targets.long()
        counted = (targets != IGNORED).sum().clamp_min(1)  # none may be, and a mean would then be NaN
        return cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum") / counted

    def predict(self, model: Any, inputs: Tensor) -> Tensor:
        import torch

        return self._logits(model, inputs).max(dim=1).indices.to(torch.uint8)  # argmax takes twice as long

    def _logits(self, model: Any, inputs: Tensor) -> Tensor:
        output = model(inputs)
        if not isinstance(output, Mapping) or "out" not in output:
            raise UserError(
                "task segmentation: the network gives no 'out' with logits for all pixels; take an architecture of "
                "that kind, for example fcn_tiny or fcn_resnet50"
            )
        logits = output["out"]
        if logits.shape[1] != self.classes:
            outputs = logits.shape[1]
            raise UserError(f"task.classes = {self.classes}: the network has {outputs} outputs; write {outputs}")
        return logits

    def reduce(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return how many pixels of each class have which prediction, int32 `[m, B, K, K]`; K x K true x predicted."""
        import torch

        size, k = predictions.shape[:2], self.classes
        cells = k * targets.long() + predictions.long()
        image = torch.arange(size.numel(), device=cells.device).view(*size, 1, 1)
        counted = (targets != IGNORED).expand_as(cells)
        counts = torch.bincount((image * k**2 + cells)[counted], minlength=size.numel() * k**2)
        return counts.view(*size, k, k).to(torch.int32)

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return _mean_iou(predictions.sum(dim=1))

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return _mean_iou(predictions) < 0.5


def _mean_iou(counts: Tensor) -> Tensor:
    """Return the mean intersection over union of the classes that occur in counts `[..., K, K]`; 1 where none does."""
    shared = counts.diagonal(dim1=-2, dim2=-1).double()
    union = counts.sum(dim=-1) + counts.sum(dim=-2) - shared
    there = union > 0
    mean = (shared / union.clamp_min(1)).sum(dim=-1) / there.sum(dim=-1).clamp_min(1)
    return mean.where(there.any(dim=-1), 1.0)


class FcnResNet50(Architecture):
    """torchvision's FCN with a ResNet-50.

    It has the auxiliary head that the published weights have; the loss does not read it. The last two norms of the
    backbone are backbone.layer4.2.bn2 and bn3; selector last_norms takes those of the heads, which come after.
    """

    name = "fcn_resnet50"
    source: ClassVar[str] = FCN + "; torchvision, weights COCO_WITH_VOC_LABELS_V1"

    def foresee(self, ahead: Ahead) -> None:
        from pdiff_plugins.networks.published import foresee_published

        super().foresee(ahead)
        if self.weights == PRETRAINED:
            foresee_published(ahead, self._published())

    def _published(self) -> Any:
        from torchvision.models.segmentation import FCN_ResNet50_Weights

        return FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.coco.nets.fcn import resnet50
        from pdiff_plugins.networks.published import load_published, refuse_grey

        refuse_grey(self, input_shape)
        model = resnet50(outputs)
        if self.weights == PRETRAINED:
            load_published(model, self._published(), outputs)
        return model


class FcnTiny(Architecture):
    """FCN on a few strided convolutions with BatchNorm."""

    name = "fcn_tiny"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = FCN + "; head as in torchvision"
    widths: tuple[PositiveInt, ...] = Field((16, 32, 64), min_length=1, description="channels; each halves the image")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.coco.nets.fcn import tiny
        from pdiff_plugins.networks.published import refuse_grey

        refuse_pretrained(self)
        refuse_grey(self, input_shape)
        return tiny(outputs, self.widths)


@hookimpl
def register_tasks(register: Any) -> None:
    register(Segmentation)


@hookimpl
def register_architectures(register: Any) -> None:
    for architecture in (FcnResNet50, FcnTiny):
        register(architecture)

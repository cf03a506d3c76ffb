"""The task of finding objects, and detectors for it: torchvision's, and small ones that a CPU trains in seconds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveInt, model_validator

from pdiff import hookimpl
from pdiff.components import Architecture, Task
from pdiff.errors import UserError
from pdiff.files import PRETRAINED
from pdiff_plugins.networks.inputs import refuse_pretrained

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.components import Ahead
    from pdiff.data import Batch

SLOTS = 100
"""Detections of an image that are kept, the best ones: as many as COCO counts."""
RCNN = "Ren et al. 2015, Faster R-CNN, arXiv 1506.01497"
FCOS = "Tian et al. 2019, FCOS, arXiv 1904.01355"


class Detection(Task):
    """Boxes of objects with their classes, scored by COCO's average precision.

    The network is a detector as torchvision has them: it takes a list of images in 0..1 and gives its losses in
    training mode, boxes in eval mode. Inputs and targets are those of the dataset coco_detection. The score is AP at
    IoU .50:.95 with 100 detections of an image, as pycocotools has it; an image is wrong where a box is missed or
    false at IoU 0.5, among detections that score 0.5 or more.
    """

    name = "detection"
    source: ClassVar[str] = "Lin et al. 2014, Microsoft COCO, arXiv 1405.0312; the measure as in pycocotools"
    metric = "AP"
    unit = "%"

    def checked(self, targets: Tensor, outputs: int) -> Tensor:
        """See `Task.checked`. Raises UserError where there is no object to find: no precision is defined then."""
        if not (targets[..., 4] >= 0).any():
            raise UserError(
                f"none of its {len(targets)} images holds an object: nothing is to be found, and AP is not defined; "
                "add annotations, or check that their image ids are those of the images"
            )
        return targets

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """See `Task.loss`: the sum of the detector's losses; crowds and boxes without area are left out."""
        images = cut(batch.inputs)
        with _giving_losses(model), _any_kernel():
            losses = model(images, [_wanted(rows, image) for rows, image in zip(batch.targets, images, strict=True)])
        return sum(losses.values())

    def predict(self, model: Any, inputs: Tensor) -> Tensor:
        """Return rows of x1, y1, x2, y2, score, class, `[B, 100, 6]`, best first; the score -1 where there is none.

        torchvision's detectors cannot be run under torch.func.vmap; pdiff then runs networks one at a time.
        """
        import torch

        with _any_kernel():
            return torch.stack([_rows(detections) for detections in model(cut(inputs))])

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        from pdiff_plugins.coco.average_precision import average_precision

        return average_precision(predictions, targets)

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        from pdiff_plugins.coco.average_precision import faults

        return faults(predictions, targets, least=0.5, overlap=0.5)


def cut(inputs_B3HW: Tensor) -> list[Tensor]:
    """Return the images without what fills them up, which is NaN."""
    there_BHW = ~inputs_B3HW[:, 0].isnan()
    sizes = zip(there_BHW[:, :, 0].sum(dim=1).tolist(), there_BHW[:, 0].sum(dim=1).tolist(), strict=True)
    return [image[:, :height, :width] for image, (height, width) in zip(inputs_B3HW, sizes, strict=True)]


def _wanted(rows_G7: Tensor, image_3HW: Tensor) -> dict[str, Tensor]:
    """Return what a detector is trained to find in an image."""
    import torch

    height, width = image_3HW.shape[1:]
    most = torch.tensor([width, height, width, height], device=rows_G7.device)
    boxes = rows_G7[:, :4].clamp_min(0).minimum(most).float()
    real = (rows_G7[:, 4] > 0) & (rows_G7[:, 5] == 0) & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return {"boxes": boxes[real], "labels": rows_G7[real, 4].long()}


def _rows(detections: dict[str, Tensor]) -> Tensor:
    """Return one image's detections as `[100, 6]`."""
    import torch

    rows = torch.cat([detections["boxes"], detections["scores"][:, None], detections["labels"][:, None]], dim=1).float()
    rows = rows[rows[:, 4].argsort(descending=True, stable=True)[:SLOTS]]
    filled = rows.new_zeros(SLOTS, 6)
    filled[:, 4:] = -1
    filled[: len(rows)] = rows
    return filled


@contextlib.contextmanager
def _any_kernel() -> Iterator[None]:
    """Ask for no deterministic kernels: torchvision's RoIAlign on CUDA would go through torch.compile.

    That takes a C compiler, minutes, and memory for a dense tensor.
    """
    import torch

    asked, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(asked, warn_only=warn_only)


@contextlib.contextmanager
def _giving_losses(model: Any) -> Iterator[None]:
    """Put a detector into training mode, its norms and dropout excepted, and back."""
    from torch import nn

    if not isinstance(model, nn.Module):
        raise UserError("task detection: detectors are not trained many at once; use collect.name = 'trajectory'")
    unchanged = nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd
    changed = [module for module in model.modules() if not module.training and not isinstance(module, unchanged)]
    for module in changed:
        module.training = True
    try:
        yield
    finally:
        for module in changed:
            module.training = False


class _Published(Architecture):
    """Options of torchvision's detectors with a ResNet-50; itself no architecture."""

    min_size: int = Field(800, gt=0, description="shorter side that images are scaled to, in pixels")
    max_size: int = Field(1333, gt=0, description="longer side that is not exceeded")

    published: ClassVar[str]
    """torchvision's enumeration of its weights."""

    def foresee(self, ahead: Ahead) -> None:
        from pdiff_plugins.networks.published import foresee_published

        super().foresee(ahead)
        if self.weights == PRETRAINED:
            foresee_published(ahead, self._published())

    def _published(self) -> Any:
        from torchvision.models import detection

        return getattr(detection, self.published).COCO_V1

    def _weighted(self, model: nn.Module, outputs: int) -> nn.Module:
        from pdiff_plugins.networks.published import load_published

        if self.weights == PRETRAINED:
            load_published(model, self._published(), outputs)
        return model


class FasterRcnnResNet50(_Published):
    """torchvision's Faster R-CNN with a ResNet-50 FPN; its frozen norms can learn.

    As in torchvision's network with weights, norms use the statistics that come with these; here their weight and bias
    are parameters, under the same keys. Select them with the selector names: the last two are
    backbone.body.layer4.2.bn2.* and bn3.*. Without weights the statistics are 0 and 1, and nothing is normalised.
    """

    name = "fasterrcnn_resnet50_fpn"
    source: ClassVar[str] = RCNN + "; torchvision, weights COCO_V1"
    published: ClassVar[str] = "FasterRCNN_ResNet50_FPN_Weights"
    norm_eps: float = Field(0.0, ge=0, description="of the norms: 0 for COCO_V1, 1e-5 for what began with ImageNet's")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.coco.nets.detectors import fasterrcnn_resnet50
        from pdiff_plugins.networks.published import refuse_grey

        refuse_grey(self, input_shape)
        model = fasterrcnn_resnet50(outputs, self.norm_eps, min_size=self.min_size, max_size=self.max_size)
        return self._weighted(model, outputs)


class FcosResNet50(_Published):
    """torchvision's FCOS with a ResNet-50 FPN; its frozen norms can learn.

    See fasterrcnn_resnet50_fpn. Its head has further norms, of groups, after those of the backbone.
    """

    name = "fcos_resnet50_fpn"
    source: ClassVar[str] = FCOS + "; torchvision, weights COCO_V1"
    published: ClassVar[str] = "FCOS_ResNet50_FPN_Weights"
    norm_eps: float = Field(1e-5, ge=0, description="of the norms")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.coco.nets.detectors import fcos_resnet50
        from pdiff_plugins.networks.published import refuse_grey

        refuse_grey(self, input_shape)
        model = fcos_resnet50(outputs, self.norm_eps, min_size=self.min_size, max_size=self.max_size)
        return self._weighted(model, outputs)


class FasterRcnnTiny(Architecture):
    """Faster R-CNN on a few strided convolutions with BatchNorm."""

    name = "fasterrcnn_tiny"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = RCNN + "; put together from torchvision's parts"
    widths: tuple[PositiveInt, ...] = Field((16, 32, 64), min_length=1, description="channels; each halves the image")
    hidden: int = Field(64, gt=0, description="width of the head of boxes")
    image_size: int = Field(160, ge=32, description="longer side that images are scaled to, in pixels")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.coco.nets.detectors import fasterrcnn_tiny
        from pdiff_plugins.networks.published import refuse_grey

        refuse_pretrained(self)
        refuse_grey(self, input_shape)
        return fasterrcnn_tiny(outputs, self.widths, self.hidden, self.image_size)


class FcosTiny(Architecture):
    """FCOS on a few strided convolutions with BatchNorm."""

    name = "fcos_tiny"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = FCOS + "; put together from torchvision's parts"
    widths: tuple[PositiveInt, ...] = Field((16, 32, 64), min_length=1, description="channels; each halves the image")
    image_size: int = Field(160, ge=32, description="longer side that images are scaled to, in pixels")

    @model_validator(mode="after")
    def _whole_groups(self) -> FcosTiny:
        if self.widths[-1] % 32:
            raise ValueError(f"widths ends in {self.widths[-1]}; FCOS normalises in 32 groups, give a multiple of 32")
        return self

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.coco.nets.detectors import fcos_tiny
        from pdiff_plugins.networks.published import refuse_grey

        refuse_pretrained(self)
        refuse_grey(self, input_shape)
        return fcos_tiny(outputs, self.widths, self.image_size)


@hookimpl
def register_tasks(register: Any) -> None:
    register(Detection)


@hookimpl
def register_architectures(register: Any) -> None:
    for architecture in (FasterRcnnResNet50, FcosResNet50, FasterRcnnTiny, FcosTiny):
        register(architecture)

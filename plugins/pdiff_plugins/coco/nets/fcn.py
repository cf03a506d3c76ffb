"""Fully convolutional networks put together from torchvision's parts."""

from __future__ import annotations

from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation import FCN, fcn_resnet50
from torchvision.models.segmentation.fcn import FCNHead

from pdiff_plugins.coco.nets.detectors import tiny_backbone


def resnet50(outputs: int) -> FCN:
    """Return torchvision's network of that name with its auxiliary head, as its published weights have it."""
    return fcn_resnet50(weights=None, weights_backbone=None, num_classes=outputs, aux_loss=True)


def tiny(outputs: int, widths: tuple[int, ...]) -> FCN:
    """Return a strided convolution per width, then torchvision's head."""
    backbone = IntermediateLayerGetter(tiny_backbone(widths), {str(len(widths) - 1): "out"})
    return FCN(backbone, FCNHead(widths[-1], outputs))

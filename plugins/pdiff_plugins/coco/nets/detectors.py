"""Detectors put together from torchvision's parts. Shapes: B batch, C channels, H height, W width."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from pdiff_plugins.networks.nets.frozen_norm import FrozenNorm

CELLS = 5
"""Side of what is pooled from a region in `fasterrcnn_tiny`."""


def fasterrcnn_resnet50(outputs: int, eps: float, **sizes: int) -> FasterRCNN:
    """Return torchvision's network of that name with frozen norms whose weight and bias are parameters."""
    return FasterRCNN(_resnet50(eps), outputs, **sizes)


def fcos_resnet50(outputs: int, eps: float, **sizes: int) -> FCOS:
    """Return torchvision's network of that name with frozen norms whose weight and bias are parameters."""
    return FCOS(_resnet50(eps, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256)), outputs, **sizes)


def _resnet50(eps: float, **options: object) -> nn.Module:
    norm = partial(FrozenNorm, eps=eps)
    return resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=norm, trainable_layers=5, **options
    )  # fmt: skip


def fasterrcnn_tiny(outputs: int, widths: tuple[int, ...], hidden: int, side: int) -> FasterRCNN:
    """Return a Faster R-CNN on one feature map, its anchors and counts of proposals fit for images of side `side`."""
    backbone = tiny_backbone(widths)
    sizes = tuple(side // count for count in (16, 8, 4, 2))
    return FasterRCNN(
        backbone, min_size=side, max_size=side,
        rpn_anchor_generator=AnchorGenerator((sizes,), ((0.5, 1.0, 2.0),)),
        rpn_pre_nms_top_n_train=200, rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_train=100, rpn_post_nms_top_n_test=50, rpn_batch_size_per_image=64,
        box_roi_pool=MultiScaleRoIAlign(featmap_names=["0"], output_size=CELLS, sampling_ratio=2),
        box_head=TwoMLPHead(backbone.out_channels * CELLS**2, hidden),
        box_predictor=FastRCNNPredictor(hidden, outputs), box_batch_size_per_image=64,
    )  # fmt: skip


def fcos_tiny(outputs: int, widths: tuple[int, ...], side: int) -> FCOS:
    """Return an FCOS on one feature map."""
    backbone = tiny_backbone(widths)
    anchors = AnchorGenerator(((2 ** len(widths),),), ((1.0,),))
    head = FCOSHead(backbone.out_channels, 1, outputs, num_convs=2)
    return FCOS(backbone, outputs, min_size=side, max_size=side, anchor_generator=anchors, head=head)


class Backbone(nn.Sequential):
    """Stages that give so many channels, which torchvision's detectors ask for."""

    out_channels: int

    def __init__(self, stages: list[nn.Sequential], out_channels: int):
        super().__init__(*stages)
        self.out_channels = out_channels


def tiny_backbone(widths: tuple[int, ...]) -> Backbone:
    """Return a 3x3 convolution, BatchNorm and ReLU for each width; each halves the image."""
    stages = [
        nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
        for a, b in pairwise((3, *widths))
    ]
    return Backbone(stages, widths[-1])

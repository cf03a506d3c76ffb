"""The small sets of COCO's layout, loaded as the tests of detection and of segmentation want them."""

from __future__ import annotations

from pathlib import Path

from pdiff.context import Context
from pdiff_plugins.coco.data import CocoDetection, CocoSegmentation


def load_boxes(root: Path, **options):
    options = {"validation": 0.25, "classes": ("person", "bicycle")} | options
    return CocoDetection(root=root.name, **options).load(Context(seed=0, data_root=root.parent))


def load_masks(root: Path, **options):
    options = {"validation": 0.25, "image_size": 48} | options
    return CocoSegmentation(root=root.name, **options).load(Context(seed=0, data_root=root.parent))

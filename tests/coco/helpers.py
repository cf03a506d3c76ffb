"""The small sets of COCO's layout, loaded as the tests of detection and of segmentation want them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from pdiff.components import Architecture, Task
from pdiff.context import Context
from pdiff.data import Batch, DatasetSplits
from pdiff.networks import build_network
from pdiff.training.loop import train
from pdiff_plugins.coco.data import CocoDetection, CocoSegmentation


def load_boxes(root: Path, **options):
    options = {"validation": 0.25, "classes": ("person", "bicycle")} | options
    return CocoDetection(root=root.name, **options).load(Context(seed=0, data_root=root.parent))


def load_masks(root: Path, **options):
    options = {"validation": 0.25, "image_size": 48} | options
    return CocoSegmentation(root=root.name, **options).load(Context(seed=0, data_root=root.parent))


def trained(
    architecture: Architecture, task: Task, data: DatasetSplits, batch_size: int, lr: float
) -> tuple[list[dict[str, float]], nn.Module]:
    """Return the log and the network of twenty steps on augmented examples."""
    model = build_network(architecture, data, seed=0).train()

    def draw(step: int, generator: torch.Generator) -> Batch:
        index = torch.randint(len(data.train), (batch_size,), generator=generator)
        return data.train.batch(index, torch.device("cpu"), generator)

    def loss(*batch: torch.Tensor) -> torch.Tensor:
        return task.loss(model, Batch(*batch))

    return train(model, loss, steps=20, ctx=Context(seed=0), what="train", lr=lr, draw=draw), model

"""Splits of images of any size with boxes. Shapes: E examples, B batch, G most boxes of an image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pdiff.data import Batch, DatasetSplits
from pdiff.errors import UserError
from pdiff.running.device import sent
from pdiff_plugins.coco.files import Annotated, Instances, pixels
from pdiff_plugins.images.splits import Decoder, random_flips

if TYPE_CHECKING:
    from pdiff_plugins.coco.data import CocoDetection

NOTHING = (0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0)
"""A row of the targets where an image has fewer boxes than another."""


class BoxSplit:
    """Images that are decoded by a pool of threads and filled up with NaN to the largest of the batch."""

    def __init__(self, images: list[Annotated], numbers: dict[int, int], longest: int, decoder: Decoder, flips: bool):
        self.images, self.longest, self.decoder, self.flips = images, longest, decoder, flips
        self.targets = _targets(images, numbers, [self._scale(image) for image in images])

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index`; see `pdiff.data.Split`. Raises UserError naming a damaged file."""
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            images = list(pool.map(self._pixels, [self.images[i] for i in index.tolist()]))
        targets_BG7 = self.targets[index]
        if augment is not None and self.flips:
            for row in random_flips(len(images), augment).nonzero()[:, 0].tolist():
                images[row] = images[row].flip(2)
                targets_BG7[row] = _mirrored(targets_BG7[row], images[row].shape[2])
        return Batch(sent(_filled_up(images), device), sent(targets_BG7, device))

    def size(self, image: Annotated) -> tuple[int, int]:
        """Return (height, width) of what the network is given."""
        scale = self._scale(image)
        return max(round(image.height * scale), 1), max(round(image.width * scale), 1)

    def _scale(self, image: Annotated) -> float:
        return min(1.0, self.longest / max(image.height, image.width)) if self.longest else 1.0

    def _pixels(self, image: Annotated) -> Tensor:
        """Return the image, float32 `[3, H, W]` in 0..1."""
        height, width = self.size(image)
        decoded = pixels(image, self.decoder)
        if decoded.size != (width, height):
            decoded = decoded.resize((width, height), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(decoded)).permute(2, 0, 1).float() / 255


def _filled_up(images: list[Tensor]) -> Tensor:
    sides = torch.tensor([image.shape[1:] for image in images]).reshape(-1, 2)
    height, width = sides.amax(dim=0).tolist() if len(images) else (0, 0)
    inputs = torch.full((len(images), 3, height, width), torch.nan)
    for row, image in zip(inputs, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    return inputs


def _targets(images: list[Annotated], numbers: dict[int, int], scales: list[float]) -> Tensor:
    """Return the boxes of all images, float64 `[E, G, 7]`, of the categories that have a number."""
    listed = [
        [_row(mark, numbers[mark["category_id"]], scale) for mark in image.marks if mark["category_id"] in numbers]
        for image, scale in zip(images, scales, strict=True)
    ]
    most = max(map(len, listed), default=0)
    filled = [rows + [NOTHING] * (most - len(rows)) for rows in listed]
    return torch.tensor(filled, dtype=torch.float64).reshape(len(images), most, len(NOTHING))


def _row(mark: Mapping[str, Any], number: int, scale: float) -> tuple[float, ...]:
    x, y, width, height = (scale * side for side in mark["bbox"])
    area = mark.get("area", mark["bbox"][2] * mark["bbox"][3])
    return x, y, x + width, y + height, number, mark.get("iscrowd", 0), scale**2 * area


def _mirrored(rows_G7: Tensor, width: int) -> Tensor:
    real_G1 = rows_G7[:, 4:5] >= 0
    mirrored = torch.cat([width - rows_G7[:, 2:3], rows_G7[:, 1:2], width - rows_G7[:, 0:1], rows_G7[:, 3:]], dim=1)
    return torch.where(real_G1, mirrored, rows_G7)


def box_splits(dataset: CocoDetection, train: Instances, test: Instances, cut: tuple[Tensor, Tensor]) -> DatasetSplits:
    """Return the splits; `cut` holds the training and the validation examples of `train`."""
    numbers = train.numbers(dataset.classes) or {category: category for category in train.categories}
    if train.categories != test.categories:
        raise UserError(f"dataset {dataset.name}: {train.file} and {test.file} differ in categories; make them agree")
    decoder = Decoder(int(dataset.memory_gib * 2**30))

    def split(images: list[Annotated]) -> BoxSplit:
        return BoxSplit(images, numbers, dataset.longest, decoder, dataset.augment == "flip")

    training, validation = (split([train.images[i] for i in indices.tolist()]) for indices in cut)
    testing = split(test.images)
    sizes = [each.size(image) for each in (training, validation, testing) for image in each.images]
    height, width = torch.tensor(sizes or [(1, 1)]).amax(dim=0).tolist()
    return DatasetSplits(training, validation, testing, (3, height, width), max(numbers.values(), default=0) + 1)

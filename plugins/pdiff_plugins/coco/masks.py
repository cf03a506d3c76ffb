"""Splits of images of one size with masks. Shapes: E examples, B batch, S side, H x W the stored image."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pdiff.data import Batch, DatasetSplits
from pdiff.errors import UserError
from pdiff.running.device import sent
from pdiff_plugins.coco.files import Annotated, Instances, pixels
from pdiff_plugins.images.splits import Box, Decoder, Transform

if TYPE_CHECKING:
    from pdiff_plugins.coco.data import CocoSegmentation

A = TypeVar("A")
B = TypeVar("B")
VOC = (0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
"""COCO's categories in the order of Pascal VOC's classes, after the background."""
VOC_NUMBERS = {category: number for number, category in enumerate(VOC) if number}
IGNORED = 255
FAR = 1e5
"""Pixels from the corner of its image that an outline may lie away, at most."""
FINE = 5
"""COCO draws outlines on a grid of this many points a pixel."""


def class_mask(image: Annotated, numbers: Mapping[int, int]) -> np.ndarray:
    """Return the classes of an image's pixels, uint8 `[H, W]`, from those of its categories.

    0 is background and every category that has no number, 255 is where objects of those that have one overlap.
    """
    mask = np.zeros((image.height, image.width), np.uint8)
    taken = np.zeros(mask.shape, bool)
    for mark in image.marks:
        if mark["category_id"] in numbers:
            marked = _filled(mark, image)
            mask[marked] = np.where(taken[marked], IGNORED, numbers[mark["category_id"]])
            taken |= marked
    return mask


def _filled(mark: Mapping[str, Any], image: Annotated) -> np.ndarray:
    """Return the pixels of one annotation, bool `[H, W]`. Raises UserError for an outline that is none."""
    outline = mark.get("segmentation", [])
    try:
        if isinstance(outline, Mapping):
            return runs(outline["counts"], image.height, image.width)
        masks = [polygon(corners, image.height, image.width) for corners in outline]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{image.path}: annotation {mark['id']}: segmentation: {error}") from None
    return np.logical_or.reduce(masks) if masks else np.zeros((image.height, image.width), bool)


def runs(counts: Sequence[int], height: int, width: int) -> np.ndarray:
    """Return the mask whose run lengths, of 0 and 1 in turn, are `counts`, column by column."""
    if isinstance(counts, str):
        raise ValueError("counts is compressed; write run lengths as a list of numbers")
    if sum(counts) != height * width:
        raise ValueError(f"counts has {sum(counts)} pixels, the image {height * width}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def polygon(corners: Sequence[float], height: int, width: int) -> np.ndarray:
    """Return the inside of a polygon x1, y1, x2, y2, ..., pixel by pixel as the COCO API has it.

    The outline is followed on a fine grid; where it crosses a pixel's middle column, everything below changes sides.
    """
    if len(corners) < 6 or len(corners) % 2:
        raise ValueError(f"a polygon has {len(corners)} numbers; at least six, in pairs, were expected")
    corners_K2 = np.asarray(corners, float).reshape(-1, 2)
    if not (abs(corners_K2) <= FAR).all():
        raise ValueError(f"a polygon leaves the image of {width} x {height} pixels far behind, or is no numbers")
    ends = (FINE * corners_K2 + 0.5).astype(np.int64)
    line = _outline(ends)
    before, after = line[:-1], line[1:]
    crossing = before[:, 0] != after[:, 0]
    column = (np.minimum(before[:, 0], after[:, 0])[crossing] + 0.5) / FINE - 0.5
    row = (np.minimum(before[:, 1], after[:, 1])[crossing] + 0.5) / FINE - 0.5
    middle = (column == np.floor(column)) & (column >= 0) & (column <= width - 1)
    start = column[middle] * height + np.ceil(row[middle].clip(0, height))
    changes = np.bincount(start.astype(np.int64), minlength=height * width + 1)[: height * width]
    return (changes.cumsum() & 1).astype(bool).reshape(width, height).T


def _outline(corners_K2: np.ndarray) -> np.ndarray:
    """Return the grid points of a closed polygon, one for each step along the longer side of each edge."""
    following_K2 = np.roll(corners_K2, -1, axis=0)
    span_K2 = np.abs(following_K2 - corners_K2)
    steep_K, length_K = span_K2[:, 1] > span_K2[:, 0], span_K2.max(axis=1)
    edge = np.repeat(np.arange(len(corners_K2)), length_K + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(length_K + 1) - length_K - 1, length_K + 1)
    # Every edge is followed upwards along its longer side, so that rounding is the same both ways.
    long_K, other_K = (np.where(steep_K, ends[:, 1], ends[:, 0]) for ends in (corners_K2, following_K2))
    back_K = long_K > other_K
    low_K2 = np.where(back_K[:, None], following_K2, corners_K2)
    slope_K2 = np.where(back_K[:, None], -1, 1) * (following_K2 - corners_K2) / np.maximum(length_K, 1)[:, None]
    step = np.where(back_K[edge], length_K[edge] - step, step)
    return (low_K2[edge] + slope_K2[edge] * step[:, None] + 0.5).astype(np.int64)


class MaskSplit:
    """Images and masks on disk, decoded and resampled alike by a pool of threads."""

    def __init__(self, images: list[Annotated], numbers: Mapping[int, int], transform: Transform, decoder: Decoder):
        self.images, self.numbers, self.transform, self.decoder = images, numbers, transform, decoder

    def __len__(self) -> int:
        return len(self.images)

    @functools.cached_property
    def targets(self) -> Tensor:
        """Masks of all examples as they are evaluated, uint8 `[E, S, S]`."""
        masks = _in_threads(lambda image: self._mask(image, self._centre(image)), self.images)
        side = self.transform.size
        return torch.from_numpy(np.stack(masks) if masks else np.zeros((0, side, side), np.uint8))

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index`; see `pdiff.data.Split`. Raises UserError naming a damaged file."""
        images = [self.images[i] for i in index.tolist()]
        if augment is None or self.transform.augment == "none":
            stacked = _in_threads(lambda image: self._colours(image, self._centre(image)), images)
            targets = self.targets[index]
        else:
            pairs = self._drawn(images, augment)
            stacked, masks = zip(*pairs, strict=True)
            targets = torch.from_numpy(np.stack(masks))
        inputs = sent(torch.from_numpy(np.stack(stacked)), device).permute(0, 3, 1, 2)
        return Batch(self.transform.normalise(inputs).contiguous(), sent(targets, device))

    def _drawn(self, images: list[Annotated], generator: torch.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return (colours, mask) of random crops, some of them mirrored."""
        heights, widths = torch.tensor([(image.height, image.width) for image in images]).unbind(1)
        boxes, flips = self.transform.draw(len(images), heights, widths, generator)

        def one(job: tuple[Annotated, list[float], bool]) -> tuple[np.ndarray, np.ndarray]:
            image, (top, left, height, width), flip = job
            box = (left, top, left + width, top + height)
            colours, mask = self._colours(image, box), self._mask(image, box)
            return (colours[:, ::-1].copy(), mask[:, ::-1].copy()) if flip else (colours, mask)

        return _in_threads(one, list(zip(images, boxes.tolist(), flips.tolist(), strict=True)))

    def _centre(self, image: Annotated) -> Box:
        top, left, height, width = self.transform.centre(image.height, image.width)
        return left, top, min(left + width, image.width), min(top + height, image.height)

    def _colours(self, image: Annotated, box: Box) -> np.ndarray:
        side = self.transform.size
        return np.array(pixels(image, self.decoder).resize((side, side), Image.Resampling.BILINEAR, box=box))

    def _mask(self, image: Annotated, box: Box) -> np.ndarray:
        side = self.transform.size
        mask = Image.fromarray(class_mask(image, self.numbers))
        return np.array(mask.resize((side, side), Image.Resampling.NEAREST, box=box))


def _in_threads(work: Callable[[A], B], items: Sequence[A]) -> list[B]:
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(work, items))


def mask_splits(
    dataset: CocoSegmentation, train: Instances, test: Instances, cut: tuple[Tensor, Tensor]
) -> DatasetSplits:
    """Return the splits; `cut` holds the training and the validation examples of `train`."""
    decoder, transform = Decoder(int(dataset.memory_gib * 2**30)), dataset.transform()
    numbers = train.numbers(dataset.classes) or VOC_NUMBERS

    def split(images: list[Annotated]) -> MaskSplit:
        return MaskSplit(images, numbers, transform, decoder)

    training, validation = (split([train.images[i] for i in indices.tolist()]) for indices in cut)
    return DatasetSplits(training, validation, split(test.images), dataset.shape, max(numbers.values()) + 1)

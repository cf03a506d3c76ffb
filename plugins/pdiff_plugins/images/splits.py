"""Image splits: in memory and on disk, and how training images are cut.

Shapes: B batch, C channels, H x W source, S side of the result, E examples. A box is (top, left, height, width) in
pixels, as floats.
"""

from __future__ import annotations

import math
import os
import struct
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from pdiff.data import Batch
from pdiff.errors import UserError
from pdiff.running.device import sent
from pdiff.running.memory import free_bytes
from pdiff_plugins.images import plain
from pdiff_plugins.images.plain import crop_resize

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels, as Pillow has it."""
T = TypeVar("T")
ATTEMPTS = 10
PADDING = 4
KEPT_BYTES = 2**30
"""Of resampled training images that a split keeps at most, and a quarter of what is free."""
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, struct.error,
              Image.DecompressionBombError)  # fmt: skip
"""What Pillow raises for a damaged file, depending on the format and on where the damage is."""


def random_boxes(
    count: int,
    height: int | Tensor,
    width: int | Tensor,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    *,
    generator: torch.Generator,
) -> Tensor:
    """Return boxes `[count, 4]` distributed as torchvision's RandomResizedCrop draws them.

    Ten attempts each, then the largest centred box of an allowed ratio. Sizes may differ per box (`[count]` tensors).
    """
    size_B2 = torch.stack([torch.as_tensor(side).double().expand(count) for side in (height, width)], 1)
    draw = torch.rand(count, ATTEMPTS, 2, dtype=torch.float64, generator=generator)
    place_B2 = torch.rand(count, 2, dtype=torch.float64, generator=generator)
    area = size_B2.prod(1, keepdim=True) * (scale[0] + draw[..., 0] * (scale[1] - scale[0]))
    low, high = (torch.tensor(bound, dtype=torch.float64).log() for bound in ratio)
    aspect = (low + draw[..., 1] * (high - low)).exp()
    sides = torch.stack([(area / aspect).sqrt().round(), (area * aspect).sqrt().round()], -1)
    fits = ((sides > 0) & (sides <= size_B2[:, None])).all(-1)
    chosen_B2 = sides[torch.arange(count), fits.int().argmax(1)]
    offset_B2 = (place_B2 * (size_B2 - chosen_B2 + 1)).floor()
    fallback_B2 = _largest(size_B2, ratio)
    found_B1 = fits.any(1, keepdim=True)
    offset_B2 = torch.where(found_B1, offset_B2, ((size_B2 - fallback_B2) / 2).floor())
    return torch.cat([offset_B2, torch.where(found_B1, chosen_B2, fallback_B2)], 1).float()


def _largest(size_B2: Tensor, ratio: tuple[float, float]) -> Tensor:
    """Return the sides of the largest box whose width / height lies within `ratio`."""
    height, width = size_B2.unbind(1)
    return torch.stack([height.minimum((width / ratio[0]).round()), width.minimum((height * ratio[1]).round())], 1)


def pad_crop_flip(images_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images shifted by up to four pixels over black, half of them mirrored; the size stays."""
    count, _, height, width = images_BCHW.shape
    shift_B2 = torch.randint(2 * PADDING + 1, (count, 2), generator=generator)
    shift_B2, flip_B = (sent(drawn, images_BCHW.device) for drawn in (shift_B2, random_flips(count, generator)))
    row_BH = shift_B2[:, :1] + torch.arange(height, device=images_BCHW.device)
    column_W = torch.arange(width, device=images_BCHW.device)
    column_BW = shift_B2[:, 1:] + torch.where(flip_B[:, None], column_W.flip(0), column_W)
    padded = functional.pad(images_BCHW, [PADDING] * 4)
    which = torch.arange(count, device=images_BCHW.device)[:, None, None]
    return padded[which, :, row_BH[:, :, None], column_BW[:, None, :]].permute(0, 3, 1, 2)


def random_flips(count: int, generator: torch.Generator) -> Tensor:
    """Return a bool tensor `[count]`, true for about half."""
    return torch.rand(count, generator=generator) < 0.5


@dataclass(frozen=True)
class Transform:
    """From stored images to network inputs.

    `augment` is one of: crop_flip (RandomResizedCrop and horizontal flip), crop (no flip), pad_crop_flip (at the
    stored size, before the evaluation transform), flip (likewise), none.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: str = "none"
    crop_scale: tuple[float, float] = (0.08, 1.0)
    channels: int = 3
    resize: int = 0

    def centre(self, height: int, width: int) -> tuple[float, float, float, float]:
        """See `plain.centre`."""
        return plain.centre(height, width, self.size, self.resize)

    def draw(
        self, count: int, height: int | Tensor, width: int | Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return random boxes `[count, 4]` and flips `[count]`."""
        boxes_B4 = random_boxes(count, height, width, self.crop_scale, generator=generator)
        flips = random_flips(count, generator) if self.augment == "crop_flip" else torch.zeros(count, dtype=torch.bool)
        return boxes_B4, flips

    def as_stored(self, height: int, width: int) -> bool:
        """See `plain.as_stored`."""
        return plain.as_stored(height, width, self.size, self.resize)

    def evaluated(self, images_BCHW: Tensor) -> Tensor:
        """See `plain.evaluated`."""
        return plain.evaluated(images_BCHW, self.size, self.resize)

    def normalise(self, images_BCSS: Tensor) -> Tensor:
        """See `plain.normalised`."""
        return plain.normalised(images_BCSS, self.mean, self.std, self.channels)

    def pixels(self, inputs_BCSS: Tensor) -> Tensor:
        """Return the pixels in 0..1 of which `normalise` made inputs."""
        mean, std = (torch.tensor(v, device=inputs_BCSS.device).view(-1, 1, 1) for v in (self.mean, self.std))
        return (inputs_BCSS * std + mean).clamp(0, 1)


class Preprocess(nn.Module):
    """What evaluated images go through before a network sees them, for images of any one size.

    Those of files were resampled by Pillow, which gives the same to a grey level or so.
    """

    def __init__(self, transform: Transform):
        super().__init__()
        self.transform = transform

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return inputs `[B, C, S, S]`. Images are uint8 of 0..255, or floats of 0..1. Raises UserError for others."""
        try:
            return plain.preprocess(images_BCHW, **self.options)
        except ValueError as error:
            raise UserError(str(error)) from None

    @property
    def options(self) -> dict[str, Any]:
        """The options of `plain.preprocess`."""
        transform = self.transform
        return {key: getattr(transform, key) for key in ("size", "resize", "mean", "std", "channels")}

    def plain(self) -> tuple[str, dict[str, Any]]:
        """See `Dataset.preprocess`."""
        return Path(plain.__file__).read_text(encoding="utf-8"), self.options


class ImageSplit:
    """Images of one size held in memory, uint8 or, where they have other levels, float32 of 0..255.

    Everything else happens on the device of the batch. On a CPU, training images that are resampled and not augmented
    are kept for the next epoch, as many as there is room for: their bits depend on no other image of their batch.
    """

    def __init__(self, images_ECHW: Tensor, targets_E: Tensor, transform: Transform):
        assert images_ECHW.dtype in (torch.uint8, torch.float32) and len(images_ECHW) == len(targets_E)
        self.images, self.targets, self.transform = images_ECHW, targets_E, transform
        self.kept_KCSS: Tensor | None = None
        """Inputs of the first K examples, from their first epoch on."""
        self.ready_E = torch.zeros(len(targets_E), dtype=torch.bool)

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index`; see `pdiff.data.Split`."""
        again = augment is not None and self.transform.augment == "none" and device.type == "cpu"
        if again and not self.transform.as_stored(*self.images.shape[-2:]):
            inputs = self._kept(index)
        else:
            inputs = self._prepared(index, device, augment)
        return Batch(inputs, sent(self.targets[index], device))

    def _prepared(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Tensor:
        images = sent(self.images[index], device)
        images = self.transform.evaluated(images) if augment is None else self._augmented(images, augment)
        return self.transform.normalise(images)

    def _kept(self, index_B: Tensor) -> Tensor:
        """Return unaugmented inputs `[B, C, S, S]`, prepared where they are not kept yet."""
        shape = self.transform.channels, self.transform.size, self.transform.size
        if self.kept_KCSS is None:
            room = min(KEPT_BYTES, free_bytes(self.images.device) // 4) // (4 * math.prod(shape))
            self.kept_KCSS = torch.empty(min(len(self), room), *shape)
        ready_B = self.ready_E[index_B]
        if ready_B.all():
            return self.kept_KCSS[index_B]
        inputs = torch.empty(len(index_B), *shape)
        inputs[ready_B] = self.kept_KCSS[index_B[ready_B]]
        inputs[~ready_B] = self._prepared(index_B[~ready_B], self.images.device)
        new_B = ~ready_B & (index_B < len(self.kept_KCSS))
        self.kept_KCSS[index_B[new_B]] = inputs[new_B]
        self.ready_E[index_B[new_B]] = True
        return inputs

    def _augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        transform = self.transform
        if transform.augment in ("crop", "crop_flip"):
            height, width = images.shape[-2:]
            boxes_B4, flip_B = transform.draw(len(images), height, width, generator)
            boxes_B4, flip_B = sent(boxes_B4, images.device), sent(flip_B, images.device)
            return crop_resize(images, boxes_B4, transform.size, flip_B=flip_B)
        if transform.augment == "flip":
            flip_B = sent(random_flips(len(images), generator), images.device)
            images = torch.where(flip_B[:, None, None, None], images.flip(3), images)
        return transform.evaluated(pad_crop_flip(images, generator) if transform.augment == "pad_crop_flip" else images)


class Decoder:
    """Reads image files as RGB, and keeps the decoded pixels as long as all of them fit `budget` bytes."""

    def __init__(self, budget: int):
        self.left, self.lock = budget, threading.Lock()
        self.pixels: dict[Path, np.ndarray] = {}

    def image(self, path: Path) -> Image.Image:
        """Return the decoded image. Raises UserError for a file that is missing or damaged."""
        pixels = self.pixels.get(path)
        if pixels is not None:
            return Image.fromarray(pixels)
        image = self._read(path, lambda file: file.convert("RGB"))
        size = image.width * image.height * 3
        with self.lock:
            if size <= self.left and path not in self.pixels:
                self.left -= size
                self.pixels[path] = np.asarray(image)
        return image

    def shape(self, path: Path) -> tuple[int, int]:
        """Return (height, width), from the file's head."""
        pixels = self.pixels.get(path)
        if pixels is not None:
            return pixels.shape[0], pixels.shape[1]
        return self._read(path, lambda file: (file.height, file.width))

    def _read(self, path: Path, use: Callable[[Image.Image], T]) -> T:
        try:
            with Image.open(path) as file:
                return use(file)
        except UNREADABLE as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: not a readable image ({reason}); replace or delete the file") from None


class FileSplit:
    """Images on disk, of any size: decoded and resampled by a pool of threads, normalised on the device."""

    def __init__(
        self, files: Sequence[Path], targets_E: Tensor, transform: Transform, decoder: Decoder, workers: int = 0
    ):
        assert len(files) == len(targets_E) and transform.augment != "pad_crop_flip"
        self.files, self.targets, self.transform, self.decoder = list(files), targets_E, transform, decoder
        self.workers = workers or os.cpu_count() or 1

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index`; see `pdiff.data.Split`. Raises UserError naming a damaged file."""
        paths = [self.files[i] for i in index.tolist()]
        with ThreadPoolExecutor(self.workers) as pool:
            if augment is None or self.transform.augment == "none":
                images = list(pool.map(self._evaluated, paths))
            else:
                # Drawn here, not in the threads, so that their number and order change nothing.
                shapes = torch.tensor(list(pool.map(self.decoder.shape, paths))).view(-1, 2)
                boxes, flips = self.transform.draw(len(paths), shapes[:, 0], shapes[:, 1], augment)
                images = list(pool.map(self._augmented, paths, boxes.tolist(), flips.tolist()))
        side = self.transform.size
        stacked = torch.from_numpy(np.stack(images) if images else np.zeros((0, side, side, 3), np.uint8))
        inputs = self.transform.normalise(sent(stacked, device).permute(0, 3, 1, 2))
        return Batch(inputs.contiguous(), sent(self.targets[index], device))

    def _evaluated(self, path: Path) -> np.ndarray:
        image = self.decoder.image(path)
        top, left, height, width = self.transform.centre(image.height, image.width)
        box = (left, top, min(left + width, image.width), min(top + height, image.height))
        return self._resized(image, box)

    def _augmented(self, path: Path, box: Sequence[float], flip: bool) -> np.ndarray:
        top, left, height, width = map(int, box)
        resized = self._resized(self.decoder.image(path).crop((left, top, left + width, top + height)))
        return resized[:, ::-1] if flip else resized

    def _resized(self, image: Image.Image, box: Box | None = None) -> np.ndarray:
        side = self.transform.size
        return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))

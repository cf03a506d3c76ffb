"""From images to what a network sees: resampled, cut and normalised. Plain torch, and nothing else.

An exported ensemble holds this file as it is. Shapes: B batch, C channels, H x W source, S side of the result. A box is
(top, left, height, width) in pixels, as floats.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def preprocess(
    images_BCHW: Tensor, size: int, resize: int, mean: Sequence[float], std: Sequence[float], channels: int
) -> Tensor:
    """Return inputs `[B, C, S, S]` of images of any one size: uint8 of 0..255, or floats of 0..1; see `centre`.

    Raises ValueError for other shapes.
    """
    if images_BCHW.ndim != 4 or images_BCHW.shape[1] not in (1, channels):
        raise ValueError(f"images have the shape {list(images_BCHW.shape)}; give [B, {channels}, height, width]")
    images = images_BCHW * 255.0 if images_BCHW.is_floating_point() else images_BCHW
    return normalised(evaluated(images, size, resize), mean, std, channels)


def centre(height: int, width: int, size: int, resize: int = 0) -> tuple[float, float, float, float]:
    """Return the box that Resize(R) and CenterCrop(S) keep; where R = 0 it is 256 for S = 224, otherwise S."""
    resize = resize or (256 if size == 224 else size)
    box = []
    for side in (height, width):
        resized = int(resize * side / min(height, width))
        box.append((round((resized - size) / 2) * side / resized, size * side / resized))
    (top, tall), (left, wide) = box
    return top, left, tall, wide


def as_stored(height: int, width: int, size: int, resize: int = 0) -> bool:
    """True where images of this size are evaluated as they are stored: nothing is cut off or resampled."""
    return centre(height, width, size, resize) == (0.0, 0.0, height, width) and height == size


def evaluated(images_BCHW: Tensor, size: int, resize: int = 0) -> Tensor:
    """Return the images `[B, C, S, S]` as they are evaluated, not normalised."""
    height, width = images_BCHW.shape[-2:]
    if as_stored(height, width, size, resize):
        return images_BCHW
    whole, box = (0.0, 0.0, height, width), centre(height, width, size, resize)
    box_14, whole_14 = torch.tensor([box, whole], dtype=torch.float32, device=images_BCHW.device).split(1)
    return crop_resize(images_BCHW, box_14, size, whole_14)


def normalised(images_BCSS: Tensor, mean: Sequence[float], std: Sequence[float], channels: int) -> Tensor:
    """Return `(x / 255 - mean) / std`, a grey image repeated to `channels`."""
    if images_BCSS.shape[1] != channels:
        images_BCSS = images_BCSS.expand(-1, channels, -1, -1)
    means, stds = (torch.tensor(values, device=images_BCSS.device).view(-1, 1, 1) for values in (mean, std))
    return images_BCSS.float().div(255).sub_(means).div_(stds)


def crop_resize(
    images_BCHW: Tensor, boxes_B4: Tensor, size: int, extent_B4: Tensor | None = None, flip_B: Tensor | None = None
) -> Tensor:
    """Return float32 `[B, C, S, S]`: each box resampled with the antialiased triangle filter, as Pillow does.

    Pixels outside `extent_B4` (default: the box, i.e. crop first, then resize) never contribute. One box `[1, 4]`
    serves the whole batch. Where `flip_B` is true the result is mirrored left to right. Values stay in their scale.
    """
    extent_B4 = boxes_B4 if extent_B4 is None else extent_B4
    height, width = images_BCHW.shape[-2:]
    rows_BSH = _weights(boxes_B4[:, 0::2], extent_B4[:, 0::2], height, size)
    columns_BSW = _weights(boxes_B4[:, 1::2], extent_B4[:, 1::2], width, size)
    if flip_B is not None:
        columns_BSW = torch.where(flip_B[:, None, None], columns_BSW.flip(1), columns_BSW)
    # Under autocast the products would round grey levels to eight bits of mantissa.
    with torch.autocast(images_BCHW.device.type, enabled=False):
        return rows_BSH[:, None] @ (images_BCHW.float() @ columns_BSW.mT[:, None])


def _weights(span_B2: Tensor, extent_B2: Tensor, length: int, size: int) -> Tensor:
    """Return `[B, S, length]`: the weight of each source pixel in each target pixel, along one axis."""
    start_B1, stride_B1 = span_B2[:, :1], span_B2[:, 1:] / size
    first_B11, count_B11 = extent_B2[:, :1, None], extent_B2[:, 1:, None]
    pixel = torch.arange(length, device=span_B2.device, dtype=torch.float32)
    centre_BS = start_B1 + (torch.arange(size, device=span_B2.device) + 0.5) * stride_B1
    distance = (pixel + 0.5 - centre_BS[:, :, None]).abs()
    weight = (1 - distance / stride_B1[:, :, None].clamp(min=1)).clamp(min=0)
    weight = weight * ((pixel + 1 > first_B11) & (pixel < first_B11 + count_B11))
    return weight / weight.sum(-1, keepdim=True)

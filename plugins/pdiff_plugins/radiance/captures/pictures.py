"""Pictures of captures: read, put on white, cut and resized. P pixels of a picture, L of one of its sides."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pdiff.errors import UserError
from pdiff_plugins.radiance.captures.scene import View

WIDE = 65535
"""Of 16 bits."""


def colours(view: View, side: int) -> Tensor:
    """Return a picture's colours before white, `[P, 3]`, 0..1; of its middle square, `side` wide, unless that is 0.

    Each pixel is the mean of what it covers. Raises UserError where the picture cannot be read.
    """
    try:
        with Image.open(view.file) as picture:
            picture_HWC = _before_white(picture)
    except Exception as error:  # a damaged file can fail in any way
        why = " ".join(str(error).split())[:120]
        raise UserError(f"{view.file}: no readable picture ({why}); replace it") from None
    if side:
        height, width, _ = picture_HWC.shape
        rows_SH, columns_SW = _covered(height, min(height, width), side), _covered(width, min(height, width), side)
        picture_HWC = np.einsum("sh,hwc,tw->stc", rows_SH, picture_HWC, columns_SW, optimize=True)
    return torch.from_numpy(np.ascontiguousarray(picture_HWC, dtype=np.float32)).flatten(0, 1)


def _before_white(picture: Image.Image) -> np.ndarray:
    """Return `[H, W, 3]`, 0..1. Raises ValueError for pixels of 32 bits, which have no known scale."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
        grey_HW = np.asarray(picture).astype(np.float32) / WIDE
        return np.repeat(grey_HW[:, :, None], 3, axis=2)
    if picture.mode in ("I", "F"):
        raise ValueError("pixels of 32 bits, of no known scale; save it with 8 or 16")
    pixels_HW4 = np.asarray(picture.convert("RGBA")).astype(np.float32) / 255
    alpha_HW1 = pixels_HW4[:, :, 3:]
    return pixels_HW4[:, :, :3] * alpha_HW1 + (1 - alpha_HW1)


def _covered(length: int, kept: int, side: int) -> np.ndarray:
    """Return `[side, length]`: the share of each of the middle `kept` pixels in each new one; rows add up to 1."""
    edge = (length - kept) / 2 + np.arange(side + 1) * kept / side
    pixel = np.arange(length)
    overlap = np.minimum(edge[1:, None], pixel + 1) - np.maximum(edge[:-1, None], pixel)
    weight = np.clip(overlap, 0, None)
    return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)

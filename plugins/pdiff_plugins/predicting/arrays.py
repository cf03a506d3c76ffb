"""Arrays as NumPy saves them, and what they may be: inputs of networks, or images as they are."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from pdiff.errors import UserError, did_you_mean

DEPTHS = (1, 3)
"""Channels of images."""


def read(path: Path, key: str = "") -> Tensor:
    """Return the one array of a file, or that of a name. Raises UserError."""
    found = _open(path)
    if isinstance(found, np.ndarray):
        return _tensor(path, found)
    names = list(found)
    if key and key not in names:
        raise UserError(f"--key {key}: {path} has no such array{did_you_mean(key, names)}; there: {', '.join(names)}")
    if not key and len(names) != 1:
        there = f"holds {len(names)} arrays ({', '.join(names)}); name one: --key {names[0]}" if names else "is empty"
        raise UserError(f"{path}: {there}")
    return _tensor(path, found[key or names[0]])


def named(path: Path, wanted: Sequence[str], key: str = "") -> dict[str, Tensor]:
    """Return the arrays of these names. Raises UserError."""
    found = _open(path)
    missing = [name for name in wanted if isinstance(found, np.ndarray) or name not in found]
    if key or missing:
        what = f"has no array {missing[0]!r}" if missing else "is read whole; leave --key out"
        raise UserError(f"{path}: {what}; the run's networks take {', '.join(wanted)}")
    return {name: _tensor(path, found[name]) for name in wanted}


def _open(path: Path) -> Any:
    """Return an array, or arrays by name."""
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            return found if isinstance(found, np.ndarray) else {name: found[name] for name in found.files}
    except (ValueError, OSError, AttributeError, EOFError, KeyError, BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: no file of plain arrays ({' '.join(str(error).split())[:120]})") from None


def _tensor(path: Path, array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "fiub" or not array.ndim:
        raise UserError(f"{path}: holds {array.dtype} of shape {list(array.shape)}; give an array of numbers, [E, ...]")
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise UserError(f"{path}: holds whole numbers up to {array.max()}, more than int64 takes; scale them")
    kinds = {"f": np.float32, "b": np.float32, "i": np.int64, "u": np.uint8 if array.itemsize == 1 else np.int64}
    return torch.from_numpy(np.ascontiguousarray(array, kinds[array.dtype.kind]))


def shaped(values: Tensor, shape: tuple[int, ...], pictures: bool) -> Tensor | None:
    """Return values as examples `[E, ...]` of a shape, or with `pictures` as images `[E, C, H, W]` of any size.

    One example stands for itself, rows of numbers are laid out, and channels may be last. None where nothing fits.
    """
    if values.shape[1:] == shape:
        return values
    if values.shape == shape:
        return values[None]
    if values.ndim == 2 and shape and values[0].numel() == torch.Size(shape).numel():
        return values.reshape(-1, *shape)
    if not pictures or len(shape) != 3:
        return None
    if values.ndim == 3:
        values = values[:, None]
    if values.ndim == 4 and values.shape[1] not in DEPTHS and values.shape[3] in DEPTHS:
        values = values.movedim(3, 1)
    return values if values.ndim == 4 and values.shape[1] in {1, shape[0]} else None


def pixels(values: Tensor, path: Path, sure: bool) -> tuple[Tensor | None, str]:
    """Return images as `Dataset.preprocess` takes them, and in words what they are; None where they seem none.

    Raises UserError where they are `sure` to be images, and cannot be.
    """
    low, high = (float(value) for value in torch.aminmax(values)) if values.numel() else (0.0, 0.0)
    if values.dtype == torch.uint8:
        return values, "bytes of 0..255"
    if values.is_floating_point() and low >= 0 and high <= 1:
        return values, "numbers of 0..1"
    if low >= 0 and high <= 255 and torch.equal(values, values.round() if values.is_floating_point() else values):
        return values.to(torch.uint8), "whole numbers of 0..255"
    if sure and low == low and high == high:
        raise UserError(
            f"{path}: raw images are bytes of 0..255, or numbers of 0..1, and these are of {low:g}..{high:g}; scale "
            "them, or say --inputs where they are as the splits have them"
        )
    return None, ""

"""What shifts do to images, as torch does quickly: pixels moved by index, rows and columns blurred by matrices.

Every map has rows that sum to 1, and what lies outside an image repeats its border, so that all commute with a data
set's normalisation. Shapes: B batch, C channels, H height, W width, P = H * W pixels, T of which each is made.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

PRECISION = 9
"""Decimals of a source pixel's place: rotations by right angles come out as exact moves."""


def moved(x_BCHW: Tensor, degrees: int, mirror: bool, order: str) -> Tensor:
    """Return images turned counter-clockwise by bilinear interpolation, mirrored, and with halves exchanged.

    `order`: whole, left-right or top-bottom.
    """
    if not degrees % 360 and not mirror and order == "whole":
        return x_BCHW
    height, width = x_BCHW.shape[-2:]
    index_PT, weight_PT = _sources(height, width, degrees % 360, mirror, order, x_BCHW.device)
    x = x_BCHW.reshape(-1, height * width).T.contiguous()  # pixels are rows, of which whole ones are moved
    taps = [x.index_select(0, index_P) for index_P in index_PT.unbind(1)]
    if len(taps) > 1:
        taps = [
            tap.mul_(weight_P.to(x.dtype)[:, None]) for tap, weight_P in zip(taps, weight_PT.unbind(1), strict=True)
        ]
    return functools.reduce(torch.Tensor.add_, taps).T.contiguous().view(x_BCHW.shape)


def blurred(x_BCHW: Tensor, sigma: float) -> Tensor:
    """Return images under a Gaussian of that width in pixels, cut off at four."""
    if not sigma:
        return x_BCHW
    rows, columns = (_gaussian(side, sigma, x_BCHW.device).to(x_BCHW.dtype) for side in x_BCHW.shape[-2:])
    return rows @ (x_BCHW @ columns.T)


def paled(x_BCHW: Tensor, factor: float) -> Tensor:
    """Return images whose differences from the mean of each channel are times a factor."""
    if factor == 1:
        return x_BCHW
    mean = x_BCHW.mean(dim=(2, 3), keepdim=True)
    return torch.lerp(mean, x_BCHW, factor)


def inverted(x_BCHW: Tensor) -> Tensor:
    """Return images reflected about the middle of each channel's range."""
    return x_BCHW.amin(dim=(2, 3), keepdim=True) + x_BCHW.amax(dim=(2, 3), keepdim=True) - x_BCHW


@functools.lru_cache(maxsize=1024)
def _sources(
    height: int, width: int, degrees: int, mirror: bool, order: str, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return of which pixels each new one is made `[P, T]`, and their weights."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    if order == "top-bottom":  # the steps from the new image back to the old
        rows = (rows - height // 2) % height
    if order == "left-right":
        columns = (columns - width // 2) % width
    if mirror:
        columns = width - 1 - columns
    angle, middle = math.radians(degrees), ((height - 1) / 2, (width - 1) / 2)
    down, right = rows.flatten().double() - middle[0], columns.flatten().double() - middle[1]
    row = (middle[0] + down * math.cos(angle) + right * math.sin(angle)).round(decimals=PRECISION)
    column = (middle[1] - down * math.sin(angle) + right * math.cos(angle)).round(decimals=PRECISION)
    row, column = row.clamp(0, height - 1), column.clamp(0, width - 1)
    top, left = row.floor().clamp(max=max(height - 2, 0)), column.floor().clamp(max=max(width - 2, 0))
    places, weights = [], []
    for below in (0, 1):
        for beside in (0, 1):
            weight = (1 - (row - top - below).abs()) * (1 - (column - left - beside).abs())
            places.append((top + below).clamp(max=height - 1) * width + (left + beside).clamp(max=width - 1))
            weights.append(weight)
    index_PT, weight_PT = torch.stack(places, dim=1).long(), torch.stack(weights, dim=1)
    if ((weight_PT == 0) | (weight_PT == 1)).all():  # each pixel is another
        index_PT = index_PT.gather(1, weight_PT.argmax(dim=1, keepdim=True))
        weight_PT = torch.ones_like(index_PT, dtype=weight_PT.dtype)
    return index_PT.T.contiguous().T.to(device), weight_PT.float().T.contiguous().T.to(device)


@functools.lru_cache(maxsize=64)
def _gaussian(side: int, sigma: float, device: torch.device) -> Tensor:
    """Return the matrix `[side, side]` of the blur along one side."""
    reach = int(4 * sigma + 0.5)
    steps = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (steps.double() / sigma) ** 2)
    matrix = torch.zeros(side, side, dtype=torch.float64)
    for step, weight in zip(steps.tolist(), (weights / weights.sum()).tolist(), strict=True):
        source = (torch.arange(side) + step).clamp(0, side - 1)
        matrix[torch.arange(side), source] += weight
    return matrix.float().to(device)

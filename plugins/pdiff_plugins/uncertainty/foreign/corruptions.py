"""Corruptions of images in five strengths.

After Hendrycks and Dietterich 2019, arXiv 1903.12261, whose sets ImageNet-C (224 pixels) and CIFAR-10-C (32 pixels)
have other strengths each. One table serves pictures of 8 to 224 pixels here: strength 1 of noise, and all of contrast,
are CIFAR-10-C's; the other strengths of noise ImageNet-C's 1 to 4; shot begins with CIFAR-10-C's third and goes on with
ImageNet-C's 1 to 4; brightness is ImageNet-C's, added to every channel and not to the value of HSV. Blur and pixelate
are ImageNet-C's at 224 pixels; a share of the side would do nothing to a digit of 8 x 8, so that blur grows with the
square root of the side, and what a pixelated square has beyond one pixel with the cube root: of 8 pixels 7, 6, 5, 5 and
4 are left. Occlusion is a grey square as in DeVries and Taylor 2017, arXiv 1708.04552.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from pdiff.context import Context
from pdiff.data import Split
from pdiff.errors import UserError
from pdiff.running.device import sent
from pdiff.view import View
from pdiff_plugins.uncertainty.foreign.entries import KINDS, image_set, no_pixels
from pdiff_plugins.uncertainty.foreign.pictures import Pictures, drawn

LEVELS: Mapping[str, tuple[float, ...]] = {
    "noise": (0.04, 0.08, 0.12, 0.18, 0.26),  # standard deviation
    "shot": (100, 60, 25, 12, 5),  # photons of a white pixel
    "blur": (1, 2, 3, 4, 6),  # standard deviation in pixels of 224
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # factor
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),  # what is added
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),  # share of the side that is left of 224
    "occlusion": (0.125, 0.25, 0.375, 0.5, 0.625),  # share of the side that is covered
}
SIDE = 224
OCCLUDED = 0.5


def corrupted(view: View, kind: str, strength: int, ctx: Context) -> Split:
    """Return the test split with its pixels corrupted as they are read, in a strength of 1..5.

    Alike in every run: what is drawn depends on kind and example. Raises UserError where the run's are no images.
    """
    own = image_set(view.recipe.dataset)
    if own is None:
        raise UserError(f"corruptions: {no_pixels(view.recipe.dataset)}; take {kind!r} away")
    if kind not in KINDS or not 1 <= strength <= 5:
        raise UserError(f"corruptions: {kind!r} in strength {strength}; give one of {', '.join(KINDS)}, in 1 to 5")
    transform, change = own.transform(), partial(CORRUPT[kind], level=LEVELS[kind][strength - 1])
    return Pictures(view.bench.examples("test"), transform, change, transform)


def _noise(x_BCSS: Tensor, numbers_B: Tensor, level: float) -> Tensor:
    return x_BCSS + level * drawn("noise", x_BCSS, numbers_B, lambda x, g: torch.randn(x.shape, generator=g))


def _shot(x_BCSS: Tensor, numbers_B: Tensor, level: float) -> Tensor:
    return drawn("shot", x_BCSS, numbers_B, lambda x, g: torch.poisson(x * level, generator=g)) / level


def _blur(x_BCSS: Tensor, numbers_B: Tensor, level: float) -> Tensor:
    """Return the pixels under a bell; beyond the edge it is as at the edge."""
    side = x_BCSS.shape[-1]
    sigma = level * math.sqrt(side / SIDE)
    steps = torch.arange(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1)
    bell = (-((steps / sigma) ** 2) / 2).double().exp()
    places_SN = (torch.arange(side)[:, None] + steps).clamp(0, side - 1)
    mixing_SS = torch.zeros(side, side, dtype=torch.float64)
    return _mixed(x_BCSS, mixing_SS.scatter_add_(1, places_SN, (bell / bell.sum()).expand(side, -1)))


def _pixelate(x_BCSS: Tensor, numbers_B: Tensor, level: float) -> Tensor:
    """Return the means of squares; where their side is no whole number of pixels, some have one more than others."""
    side = x_BCSS.shape[-1]
    squares = round(side / (1 + (1 / level - 1) * (side / SIDE) ** (1 / 3)))
    square_S = torch.arange(side) * squares // side
    same_SS = (square_S[:, None] == square_S).double()
    return _mixed(x_BCSS, same_SS / same_SS.sum(1, keepdim=True))


def _mixed(x_BCSS: Tensor, mixing_SS: Tensor) -> Tensor:
    """Return the pixels with their rows, then their columns mixed: diagonal by diagonal, so that each is alone."""
    side = x_BCSS.shape[-1]
    row_N, column_N = mixing_SS.nonzero().unbind(1)
    steps = (column_N - row_N).unique().tolist()
    mixing_SS = sent(mixing_SS.float(), x_BCSS.device)
    for axis, form in ((2, (-1, 1)), (3, (-1,))):
        given, x_BCSS = x_BCSS, torch.zeros_like(x_BCSS)
        for step in steps:
            row, count = max(-step, 0), side - abs(step)
            part = given.narrow(axis, row + step, count) * mixing_SS.diagonal(step).view(form)
            x_BCSS.narrow(axis, row, count).add_(part)
    return x_BCSS


def _contrast(x_BCSS: Tensor, numbers_B: Tensor, level: float) -> Tensor:
    mean_BC11 = x_BCSS.double().mean((2, 3), keepdim=True).float()
    return (x_BCSS - mean_BC11) * level + mean_BC11


def _brightness(x_BCSS: Tensor, numbers_B: Tensor, level: float) -> Tensor:
    return x_BCSS + level


def _occlusion(x_BCSS: Tensor, numbers_B: Tensor, level: float) -> Tensor:
    side = x_BCSS.shape[-1]
    covered = round(side * level)
    at_B2 = drawn("occlusion", x_BCSS, numbers_B, lambda _, g: torch.rand(2, generator=g)) * (side - covered + 1)
    at_B2, places = at_B2.floor(), sent(torch.arange(side), x_BCSS.device)
    inside_B2S = (places >= at_B2[..., None]) & (places < at_B2[..., None] + covered)
    return torch.where((inside_B2S[:, 0, :, None] & inside_B2S[:, 1, None, :])[:, None], OCCLUDED, x_BCSS)


CORRUPT: Mapping[str, Callable[..., Tensor]] = {
    "noise": _noise, "shot": _shot, "blur": _blur, "contrast": _contrast, "brightness": _brightness,
    "pixelate": _pixelate, "occlusion": _occlusion,
}  # fmt: skip

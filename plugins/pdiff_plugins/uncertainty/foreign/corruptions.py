"""Corruptions of images in five strengths.

After Hendrycks and Dietterich 2019, arXiv 1903.12261, whose sets ImageNet-C (224 pixels) and CIFAR-10-C (32 pixels)
have other strengths each. One table serves pictures of 8 to 224 pixels here: strength 1 of noise, and all of contrast,
are CIFAR-10-C's; the other strengths of noise ImageNet-C's 1 to 4; shot begins with CIFAR-10-C's third and goes on with
ImageNet-C's 1 to 4; brightness is ImageNet-C's, added to every channel and not to the value of HSV. Blur is
ImageNet-C's at 224 pixels, and grows with the square root of the side: a share of the side would do nothing to a digit
of 8 x 8. Pixelate lies between the two sets. Occlusion is a grey square as in DeVries and Taylor 2017, arXiv
1708.04552.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from pdiff.context import Context
from pdiff.data import Split
from pdiff.errors import UserError
from pdiff.running.device import sent
from pdiff.view import View
from pdiff_plugins.uncertainty.foreign.entries import KINDS, image_set, unfit
from pdiff_plugins.uncertainty.foreign.pictures import Pictures, drawn

LEVELS: Mapping[str, tuple[float, float, float, float, float]] = {
    "noise": (0.04, 0.08, 0.12, 0.18, 0.26),  # standard deviation
    "shot": (100, 60, 25, 12, 5),  # photons of a white pixel
    "blur": (1, 2, 3, 4, 6),  # standard deviation in pixels of 224
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # factor
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),  # what is added
    "pixelate": (0.85, 0.7, 0.6, 0.5, 0.4),  # share of the side that is left
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
        raise UserError(f"corruptions, {kind!r}: {unfit(view.recipe.dataset, kind)}")
    if kind not in KINDS or not 1 <= strength <= 5:
        raise UserError(f"corruptions: {kind!r} in strength {strength}; give one of {', '.join(KINDS)}, in 1 to 5")
    transform, change = own.transform(), partial(CORRUPT[kind], level=LEVELS[kind][strength - 1])
    return Pictures(view.bench.examples("test"), transform, change, transform)


def _noise(x_BCSS: Tensor, numbers_B: Tensor, level: float) -> Tensor:
    return x_BCSS + level * drawn("noise", x_BCSS, numbers_B, lambda x, g: torch.randn(x.shape, generator=g))


def _shot(x_BCSS: Tensor, numbers_B: Tensor, level: float) -> Tensor:
    return drawn("shot", x_BCSS, numbers_B, lambda x, g: torch.poisson(x * level, generator=g)) / level


def _blur(x_BCSS: Tensor, numbers_B: Tensor, level: float) -> Tensor:
    """Blur along rows, then columns, beyond the edge as at the edge, by sums that no other image can change."""
    side = x_BCSS.shape[-1]
    sigma = level * math.sqrt(side / SIDE)
    reach = math.ceil(3 * sigma)
    bells = [math.exp(-((step / sigma) ** 2) / 2) for step in range(-reach, reach + 1)]
    for axis, edges in ((2, (0, 0, reach, reach)), (3, (reach, reach, 0, 0))):
        wide = functional.pad(x_BCSS, edges, mode="replicate")
        x_BCSS = torch.zeros_like(x_BCSS)
        for step, bell in enumerate(bells):
            x_BCSS = x_BCSS + wide.narrow(axis, step, side) * (bell / sum(bells))
    return x_BCSS


def _contrast(x_BCSS: Tensor, numbers_B: Tensor, level: float) -> Tensor:
    mean_BC11 = x_BCSS.double().mean((2, 3), keepdim=True).float()
    return (x_BCSS - mean_BC11) * level + mean_BC11


def _brightness(x_BCSS: Tensor, numbers_B: Tensor, level: float) -> Tensor:
    return x_BCSS + level


def _pixelate(x_BCSS: Tensor, numbers_B: Tensor, level: float) -> Tensor:
    side = x_BCSS.shape[-1]
    few = functional.interpolate(x_BCSS, size=round(side * level), mode="area")
    return functional.interpolate(few, size=side, mode="nearest-exact")


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

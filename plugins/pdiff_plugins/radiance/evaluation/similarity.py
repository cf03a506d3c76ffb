"""How like each other pictures are, as eyes have it. B pictures of H x W pixels, C = 3 colours, 0..1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from pdiff.errors import UserError

WINDOW, DEVIATION = 11, 1.5
K1, K2 = 0.01, 0.03
"""Of SSIM: Wang et al. 2004, Image quality assessment, IEEE TIP 13(4), section III.C."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of colours -1..1 before AlexNet, as the authors of LPIPS have it."""
LEAST = 64
"""Pixels along a side to which smaller pictures are enlarged: AlexNet needs 31."""


def ssim(a_BHWC: Tensor, b_BHWC: Tensor) -> Tensor:
    """Return the structural similarity of pictures, mean over places and colours, `[B]` in float64.

    Places are those around which a whole window lies within the picture: no picture is smaller than 11 pixels.
    """
    a, b = (x.double().movedim(-1, 1).flatten(0, 1)[:, None] for x in (a_BHWC, b_BHWC))
    place_W = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    line_W = torch.exp(-place_W.square() / (2 * DEVIATION**2))
    window_11WW = torch.outer(line_W, line_W)[None, None] / line_W.sum().square()
    mean_a, mean_b, aa, bb, ab = (functional.conv2d(x, window_11WW) for x in (a, b, a * a, b * b, a * b))
    both, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
    alike = (2 * both + K1**2) * (2 * (ab - both) + K2**2)
    value = alike / ((squares + K1**2) * (aa + bb - squares + K2**2))
    return value.flatten(1).mean(dim=1).unflatten(0, (-1, a_BHWC.shape[-1])).mean(dim=1)


class Lpips(nn.Module):
    """Learnt perceptual distance by AlexNet's features (Zhang et al. 2018, arXiv 1801.03924, eq. 1), version 0.1."""

    def __init__(self, alexnet: Mapping[str, Tensor], heads: Mapping[str, Tensor]):
        """Weights as torchvision names AlexNet's, and as the authors name their own, `lin0.model.1.weight` to lin4."""
        super().__init__()
        from torchvision.models import alexnet as build

        with torch.device("meta"):  # its classifier, 58 million weights, is not read
            self.features = build().features.eval()
        own = {key.removeprefix("features."): value for key, value in alexnet.items() if key.startswith("features.")}
        self.features.load_state_dict(own, assign=True)
        self.heads = [heads[f"lin{number}.model.1.weight"] for number in range(5)]

    def forward(self, a_BHWC: Tensor, b_BHWC: Tensor) -> Tensor:
        """Return the distance of pictures, `[B]`; 0 where they are equal."""
        total_B = torch.zeros(len(a_BHWC))
        for head_1C11, a_BCHW, b_BCHW in zip(self.heads, self._seen(a_BHWC), self._seen(b_BHWC), strict=True):
            total_B += functional.conv2d((a_BCHW - b_BCHW).square(), head_1C11).mean(dim=(1, 2, 3))
        return total_B

    def _seen(self, pixels_BHWC: Tensor) -> list[Tensor]:
        """Return the features of all five layers, each place's of length 1."""
        x = 2 * pixels_BHWC.float().movedim(-1, 1) - 1
        if min(x.shape[2:]) < LEAST:
            x = functional.interpolate(x, scale_factor=LEAST / min(x.shape[2:]), mode="bilinear")
        x = (x - x.new_tensor(SHIFT)[:, None, None]) / x.new_tensor(SCALE)[:, None, None]
        layers = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                layers.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        return layers


def lpips_of(paths: tuple[Path, Path]) -> Lpips:
    """Return it from its two files. Raises UserError where they hold something else."""
    try:
        return Lpips(*(torch.load(path, map_location="cpu", weights_only=True) for path in paths))
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        names = " and ".join(str(path) for path in paths)
        raise UserError(f"evaluate radiance: lpips: {names} do not hold its weights; load them anew") from error

"""How far apart pictures are, in decibels. M pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 1e-10
"""Squared error that counts for less, so that equal pictures have a finite score: 100 dB."""


def psnr(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of values 0..1, -10 log10 of the mean squared error, `[M]` in float64."""
    squares_M = (found - wanted).square().flatten(1).double().mean(dim=1)
    return -10 * squares_M.clamp_min(LEAST).log10()

"""Examples whose pixels are changed as they are read.

Pixels are 0..1, at the side that the network sees and before it is normalised: x_BCSS. B batch, C channels, S side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff.context import derive
from pdiff.data import Batch, Split
from pdiff.running.device import sent
from pdiff_plugins.images.splits import Transform

PixelChange = Callable[[Tensor, Tensor], Tensor]
"""(x_BCSS, the examples' numbers in their split `[B]`) -> pixels of the same shape; what is beyond 0..1 is cut off."""
LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue, ITU-R 601-2."""
GREY = 1e-3
"""Channels no farther apart than that are one."""


@dataclass(frozen=True)
class Pictures:
    """A split of images with other pixels: those that a change makes of each example, brought to a network's form.

    Nothing is copied, and an example is the same whatever else is in its batch. There is no training transform.
    """

    of: Split
    seen: Transform
    """Of the images of `of`."""
    change: PixelChange
    wanted: Transform
    """Of the network, at the same side."""

    @property
    def targets(self) -> Tensor:
        return self.of.targets

    def __len__(self) -> int:
        return len(self.of)

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index`; see `pdiff.data.Split`."""
        given = self.of.batch(index, device)
        x_BCSS = self.seen.pixels(given.inputs)
        grey_B = ((x_BCSS - x_BCSS[:, :1]).abs() < GREY).all(3).all(2).all(1)
        changed = self.change(x_BCSS, index)
        changed = torch.where(grey_B[:, None, None, None], changed[:, :1], changed)  # what is grey stays so
        return Batch(
            self.wanted.normalise(_in_channels(changed, self.wanted.channels).clamp(0, 1) * 255), given.targets
        )


def _in_channels(x_BCSS: Tensor, channels: int) -> Tensor:
    """Return colour as grey where one channel is wanted."""
    if channels == x_BCSS.shape[1] or channels == 3:
        return x_BCSS
    red, green, blue = (weight * x_BCSS[:, [channel]] for channel, weight in enumerate(LUMA))
    return red + green + blue


def as_they_are(x_BCSS: Tensor, numbers_B: Tensor) -> Tensor:
    """Return the pixels."""
    return x_BCSS


def drawn(word: str, x_BN: Tensor, numbers_B: Tensor, draw: Callable[[Tensor, torch.Generator], Tensor]) -> Tensor:
    """Return what is drawn for each example `[B, ...]`, by its number alone: alike in every run, batch and strength."""
    draws = [
        draw(x, torch.Generator().manual_seed(derive(0, word, number)))
        for x, number in zip(x_BN.cpu(), numbers_B.tolist(), strict=True)
    ]
    return sent(torch.stack(draws), x_BN.device) if draws else x_BN

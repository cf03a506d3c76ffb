"""Distances between rows, a few columns at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pdiff.mapped import COLUMNS

if TYPE_CHECKING:
    from torch import Tensor

NUMBERS = 2**18
"""Numbers that are held in float64 at a time: what a processor's cache takes, and no memory asked for anew."""


def nearest(a_MD: Tensor, b_ND: Tensor, leave_self_out: bool = False) -> Tensor:
    """Return the L2 distance of each row of `a` to the nearest row of `b`, `[M]` in float64."""
    return neighbours(a_MD, b_ND, leave_self_out)[0]


def neighbours(a_MD: Tensor, b_ND: Tensor, leave_self_out: bool = False) -> tuple[Tensor, Tensor]:
    """Return (L2 distance, index) of the row of `b` nearest to each row of `a`, `[M]` each, without cancellation."""
    import torch

    least = [squares_N.min(dim=0) for squares_N in _squares(a_MD, b_ND, leave_self_out)]
    return torch.stack([row.values.sqrt() for row in least]), torch.stack([row.indices for row in least])


def _squares(a_MD: Tensor, b_ND: Tensor, leave_self_out: bool) -> Iterator[Tensor]:
    """Yield the squared distances of each row of `a` to those of `b`, `[N]` in float64; memory is used again."""
    import torch

    width = min(COLUMNS, b_ND.shape[1])
    rows = max(1, NUMBERS // max(width, 1))
    near, wide = (torch.empty(rows * width, dtype=dtype) for dtype in (b_ND.dtype, torch.float64))
    for index, a_D in enumerate(a_MD):
        squares_N = torch.zeros(len(b_ND), dtype=torch.float64)
        for b_nD, sum_n in zip(b_ND.split(rows), squares_N.split(rows), strict=True):
            for b, a in zip(b_nD.split(COLUMNS, dim=1), a_D.split(COLUMNS), strict=True):
                difference, square = (buffer[: b.numel()].view(b.shape) for buffer in (near, wide))
                torch.sub(b, a, out=difference)
                sum_n += square.copy_(difference).square_().sum(dim=1)
        if leave_self_out:
            squares_N[index] = float("inf")
        yield squares_N

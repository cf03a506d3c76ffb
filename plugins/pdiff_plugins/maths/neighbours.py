"""Distances between rows, a few columns at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


COLUMNS = 65_536
"""Columns of a zoo that are held in float64 at a time."""


def nearest(a_MD: Tensor, b_ND: Tensor, leave_self_out: bool = False) -> Tensor:
    """Return the L2 distance of each row of `a` to the nearest row of `b`, `[M]` in float64."""
    return neighbours(a_MD, b_ND, leave_self_out)[0]


def neighbours(a_MD: Tensor, b_ND: Tensor, leave_self_out: bool = False) -> tuple[Tensor, Tensor]:
    """Return (L2 distance, index) of the row of `b` nearest to each row of `a`, `[M]` each, without cancellation."""
    import torch

    rows, indices = [], []
    for index, a_D in enumerate(a_MD):
        parts = zip(b_ND.split(COLUMNS, dim=1), a_D.split(COLUMNS), strict=True)
        squares_N = sum((b - a).double().square_().sum(dim=1) for b, a in parts)
        if leave_self_out:
            squares_N[index] = float("inf")
        least = squares_N.min(dim=0)
        rows.append(least.values.sqrt())
        indices.append(least.indices)
    return torch.stack(rows), torch.stack(indices)

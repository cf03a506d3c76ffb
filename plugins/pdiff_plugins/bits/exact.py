"""On which grid networks lie exactly, found from their values. M networks, R rows, L numbers of a row.

On it is a network whose every number is `(c + 1/2) * step` to the last bit, with whole numbers `c` of so many bits and
a step of bfloat16 for each row. Zeros lie on no grid: a mask says which they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pdiff_plugins.bits.grid import nearest, storable

WIDTHS = tuple(range(2, 9))
FLOAT = 32
"""Bits of a number that lies on none of these grids."""


def grids(rows_MRL: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bits `[M]` of the smallest grid that holds all rows of a network, and the rows' steps `[M, R]`.

    Bits are `FLOAT` where there is none of 2 to 8. A row of zeros has step 0.
    """
    bits_M = torch.full((len(rows_MRL),), FLOAT)
    step_MR = rows_MRL.new_zeros(rows_MRL.shape[:2])
    for bits in WIDTHS:
        open_J = (bits_M == FLOAT).nonzero().flatten()
        likely_J = open_J[_fitting(rows_MRL[open_J, :1], bits)[1][:, 0]]  # dense networks fail by their first row
        step_JR, fits_JR = _fitting(rows_MRL[likely_J], bits)
        found_J = fits_JR.all(dim=1)
        bits_M[likely_J[found_J]], step_MR[likely_J[found_J]] = bits, step_JR[found_J]
    return bits_M, step_MR


def _fitting(rows_MRL: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return the largest step `[M, R]` on whose grid a row lies, and whether there is one."""
    most_MR = rows_MRL.abs().amax(dim=-1)
    step_MR, fits_MR = torch.zeros_like(most_MR), most_MR == 0
    for half in torch.arange(2 ** (bits - 1)) + 0.5:
        near_MR = storable(most_MR / half)
        same_MR = ~fits_MR & (nearest(rows_MRL, near_MR, bits) == rows_MRL).all(dim=-1)
        step_MR, fits_MR = torch.where(same_MR, near_MR, step_MR), fits_MR | same_MR
    return step_MR, fits_MR

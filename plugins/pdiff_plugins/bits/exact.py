"""On which grid networks lie exactly, found from their values. M networks, R rows, L numbers of a row.

On it is a network whose every number is `(c + 1/2) * step` to the last bit, as float32 computes it, with whole numbers
`c` of so many bits and a step for each row. Zeros lie on no grid: a mask says which they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pdiff_plugins.bits.grid import EXACT, codes, values

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
        near_MR = most_MR / half
        left_MR = ~fits_MR & _beside(rows_MRL, near_MR, bits)
        if not bool(left_MR.any()):
            continue
        for step in _neighbours(near_MR):  # dividing has lost the last bit
            same_MR = left_MR & ~fits_MR & _same(rows_MRL, step, bits)
            step_MR, fits_MR = torch.where(same_MR, step, step_MR), fits_MR | same_MR
    return step_MR, fits_MR


def _neighbours(step_MR: Tensor) -> tuple[Tensor, ...]:
    up, down = torch.full_like(step_MR, torch.inf), torch.zeros_like(step_MR)
    above, below = step_MR.nextafter(up), step_MR.nextafter(down)
    return step_MR, above, below, above.nextafter(up), below.nextafter(down)


def _on(rows_MRL: Tensor, step_MR: Tensor, bits: int) -> Tensor:
    safe_MR = torch.where(step_MR > 0, step_MR, torch.ones_like(step_MR))
    return values(codes(rows_MRL, safe_MR, bits), safe_MR)


def _beside(rows_MRL: Tensor, step_MR: Tensor, bits: int) -> Tensor:
    away_MRL = (_on(rows_MRL, step_MR, bits) - rows_MRL).abs().masked_fill(rows_MRL == 0, 0.0)
    return away_MRL.amax(dim=-1) <= EXACT * step_MR


def _same(rows_MRL: Tensor, step_MR: Tensor, bits: int) -> Tensor:
    return ((_on(rows_MRL, step_MR, bits) == rows_MRL) | (rows_MRL == 0)).all(dim=-1)

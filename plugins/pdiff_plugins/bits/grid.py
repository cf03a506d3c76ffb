"""The grid of few bits: (c + 1/2) times a step, c a whole number of b bits; each row of a matrix has a step.

Rows are the first axis of an entry of two or more axes: what belongs to one output. All other entries stay as they
are. Steps are numbers of bfloat16, so that every product with half a whole number of 8 bits is a float32 exactly: a
network on a grid stays there to the bit, and its steps are found again from its values. No grid holds zero: a weight
that is exactly zero is one that was cut, and stays so. Shapes: M networks, D selected parameters, R rows, L numbers of
a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pdiff.zoo import Entry, Layout

GAUSSIAN = {2: 0.9957, 3: 0.5860, 4: 0.3352, 5: 0.1881, 6: 0.1041, 7: 0.0568, 8: 0.0308}
"""Steps that lose least of a Gaussian of deviation 1, by bits.

Max 1960, Quantizing for minimum distortion, table II, to 5 bits; beyond, computed alike.
"""
TRIED = 64
"""Steps tried for a row that is not on a grid."""


def matrices(layout: Layout) -> list[Entry]:
    """Return the entries that are quantised, or cut."""
    return [entry for entry in layout.entries if len(entry.shape) > 1 and not entry.positive and not entry.is_complex]


def rows(theta_MD: Tensor, entry: Entry) -> Tensor:
    """Return an entry's rows, `[M, R, L]`."""
    return theta_MD[:, entry.columns].unflatten(1, (entry.shape[0], -1))


def codes(rows_RL: Tensor, step_R: Tensor, bits: int) -> Tensor:
    """Return the whole numbers nearest to rows `[..., R, L]`, of the same shape and type."""
    most = 2 ** (bits - 1)
    return (rows_RL / step_R[..., None]).floor().clamp(-most, most - 1)


def values(codes_RL: Tensor, step_R: Tensor) -> Tensor:
    """Return what whole numbers `[..., R, L]` stand for."""
    return (codes_RL + 0.5) * step_R[..., None]


def storable(step_R: Tensor) -> Tensor:
    """Return the steps of bfloat16 that are nearest, of the same type."""
    return step_R.to(torch.bfloat16).to(step_R.dtype)


def nearest(rows_RL: Tensor, step_R: Tensor, bits: int) -> Tensor:
    """Return the values on a grid that are nearest to rows `[..., R, L]`; zeros stay, and all of a row of step 0."""
    some_R = torch.where(step_R > 0, step_R, torch.ones_like(step_R))
    alive_RL = (rows_RL != 0) & (step_R > 0)[..., None]
    return torch.where(alive_RL, values(codes(rows_RL, some_R, bits), some_R), torch.zeros_like(rows_RL))


def gaussian(rows_RL: Tensor, bits: int) -> Tensor:
    """Return the step `[..., R]` that is best for numbers of a Gaussian as wide as each row's that are not zero."""
    alive_R = (rows_RL != 0).sum(dim=-1).clamp_min(1)
    square_R = rows_RL.square().sum(dim=-1, dtype=torch.float64) / alive_R
    return storable(GAUSSIAN[bits] * square_R.sqrt()).to(rows_RL.dtype)


def steps(rows_RL: Tensor, bits: int) -> Tensor:
    """Return the step `[..., R]` by which each row loses least.

    Of a row that is on a grid it is the largest that loses nothing. A row of zeros has step 0.
    """
    wide_RL = rows_RL.double()
    most_R = wide_RL.abs().amax(dim=-1)
    halves = torch.arange(2 ** (bits - 1), dtype=torch.float64, device=rows_RL.device) + 0.5
    spread_R = gaussian(wide_RL, bits)
    between = torch.linspace(math.log(0.4), math.log(2.5), TRIED, dtype=torch.float64, device=rows_RL.device).exp()
    best_R, error_R = torch.zeros_like(most_R), torch.full_like(most_R, math.inf)
    for step_R in (*(most_R / half for half in halves), *(spread_R * factor for factor in between)):
        step_R = storable(step_R)
        lost_R = (nearest(wide_RL, step_R, bits) - wide_RL).square().sum(dim=-1)
        better_R = lost_R < error_R
        best_R, error_R = torch.where(better_R, step_R, best_R), torch.where(better_R, lost_R, error_R)
    return best_R.to(rows_RL.dtype)


def rounded(theta_MD: Tensor, layout: Layout, bits: int) -> Tensor:
    """Return networks whose matrices are on the nearest grid of so many bits."""
    theta_MD = theta_MD.clone()
    for entry in matrices(layout):
        rows_MRL = rows(theta_MD, entry)
        rows_MRL.copy_(nearest(rows_MRL, steps(rows_MRL, bits), bits))
    return theta_MD


def straight_through(rows_RL: Tensor, bits: int) -> Tensor:
    """Return rows `[..., R, L]` on the grid that is best for a Gaussian, as the loss sees them.

    The gradient passes as if nothing were rounded (Bengio et al. 2013, arXiv 1308.3432), within the grid and beyond.
    """
    still_RL = rows_RL.detach()
    return nearest(still_RL, gaussian(still_RL, bits), bits) + (rows_RL - still_RL)


def seen(tensors: Mapping[str, Tensor], axes: Mapping[str, int], bits: int) -> dict[str, Tensor]:
    """Return tensors, each `[..., *shape]`, as the loss sees them: matrices, whose axes are counted, on a grid."""
    return {
        key: straight_through(value.flatten(1 - axes[key]), bits).view_as(value) if key in axes else value
        for key, value in tensors.items()
    }

"""Distances between rows: to the nearest of others, by one matrix product and a few differences.

A Gram matrix in float64 tells all distances but for its rounding, of which a bound is known. Whatever may be nearest
within that bound is measured pair by pair: differences in the rows' own precision, squared and summed in float64. So
the answer is that of measuring every pair, to the last bit.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from pdiff.mapped import COLUMNS, windows

if TYPE_CHECKING:
    from torch import Tensor

NUMBERS = 2**18
"""Numbers of pairs that are measured at a time: what a processor's cache takes."""
PAIRS = 2**22
"""Pairs of rows whose products are held at a time."""
WIDE = 2**18
"""Numbers of a window of columns that are held in float64, of all rows."""
PARTS = 4
"""In which the product of rows with themselves is taken."""
ROUNDING = 2.0**-53
"""Of a number in float64, relative."""


def nearest(a_MD: Tensor, b_ND: Tensor, leave_self_out: bool = False) -> Tensor:
    """Return the L2 distance of each row of `a` to the nearest row of `b`, `[M]` in float64."""
    return neighbours(a_MD, b_ND, leave_self_out)[0]


def neighbours(a_MD: Tensor, b_ND: Tensor, leave_self_out: bool = False) -> tuple[Tensor, Tensor]:
    """Return (L2 distance, index) of the row of `b` nearest to each row of `a`, `[M]` each, without cancellation.

    Of equally near rows it is the first. `leave_self_out`: row m of `a` is not compared with row m of `b`. What was
    found of two tensors is known as long as both of them live and are unchanged: evaluators ask for the same.
    """
    if a_MD.is_inference() or b_ND.is_inference():  # whether such a tensor is unchanged cannot be told
        return _neighbours(a_MD, b_ND, leave_self_out)
    known = _known().setdefault(a_MD, _weak()).setdefault(b_ND, {})
    key = (a_MD._version, b_ND._version, leave_self_out)
    if key not in known:
        known[key] = _neighbours(a_MD, b_ND, leave_self_out)
    distance_M, index_M = known[key]
    return distance_M.clone(), index_M.clone()


def all_distances(a_MD: Tensor, b_ND: Tensor) -> Tensor:
    """Return the L2 distances of all pairs, `[M, N]` in float64, right to nine digits."""
    square_MN, a_M, b_N, chain = _gram(a_MD, b_ND)
    around_MN = (a_M[:, None] + b_N).square_().mul_(1e9 * (chain + 16) * ROUNDING)
    m_P, n_P = (~(square_MN > around_MN)).nonzero(as_tuple=True)  # as in `_possible`; true of NaN too
    square_MN[m_P, n_P] = _squares(a_MD, b_ND, m_P, n_P)
    return square_MN.sqrt_()


def _weak() -> Any:
    from torch.utils.weak import WeakTensorKeyDictionary

    return WeakTensorKeyDictionary()


_known = functools.cache(_weak)
"""Tensor -> tensor -> (their versions, whether a row is left out) -> what was found; it keeps no tensor alive."""


def _neighbours(a_MD: Tensor, b_ND: Tensor, leave_self_out: bool) -> tuple[Tensor, Tensor]:
    import torch

    values, indices, start = [], [], 0
    for a_mD in a_MD.split(max(1, PAIRS // max(1, len(b_ND)))):
        square_mN = torch.full((len(a_mD), len(b_ND)), torch.inf, dtype=torch.float64)
        possible_mN = _possible(a_mD, b_ND, start if leave_self_out else None)
        m_P, n_P = possible_mN.nonzero(as_tuple=True)
        square_mN[m_P, n_P] = _squares(a_mD, b_ND, m_P, n_P)
        least = square_mN.min(dim=1)
        values.append(least.values.sqrt())
        indices.append(least.indices)
        start += len(a_mD)
    return torch.cat(values), torch.cat(indices)


def _possible(a_MD: Tensor, b_ND: Tensor, left_out: int | None) -> Tensor:
    """Return which rows of `b` may be nearest to a row of `a`, `[M, N]`; all where numbers are not finite, or huge.

    With u the rounding of float64, R the sum of two rows' lengths from a common centre and k the longest chain of
    additions, the Gram matrix's squared distance is wrong by at most (k + 16) u R^2 (Higham 2002, Accuracy and
    Stability of Numerical Algorithms, section 3.1): products and lengths k u R^2, the centre 2 u R^2, the rest for
    their sum and for what is computed here. The squared distance that `_squares` gives is wrong by a factor of 1 +- s.
    `left_out`: the row of `b` with which the first of `a` is not compared, the second not with the next, and so on.
    """
    import torch

    square_MN, a_M, b_N, chain = _gram(a_MD, b_ND)
    limits = [torch.finfo(dtype) for dtype in (b_ND.dtype, torch.float64)]
    huge = min(limits[0].max * limits[0].max, limits[1].max) / 16  # beyond, a difference or a square may overflow
    around_MN = (a_M[:, None] + b_N).square_()
    unknown_MN = ~((around_MN < huge) & square_MN.isfinite())
    around_MN.mul_((chain + 16) * ROUNDING).add_(b_ND.shape[1] * limits[1].tiny)
    s = 2 * limits[0].eps + (COLUMNS + b_ND.shape[1] // COLUMNS + 16) * ROUNDING
    most_MN = (square_MN + around_MN).mul_(1 + s).masked_fill_(unknown_MN, torch.inf)
    if left_out is not None:
        most_MN.diagonal(left_out).fill_(torch.inf)
    least_MN = square_MN.sub_(around_MN).mul_(1 - s)
    possible_MN = unknown_MN.logical_or_(least_MN <= most_MN.amin(dim=1, keepdim=True))
    if left_out is not None:
        possible_MN.diagonal(left_out).fill_(False)
    return possible_MN


def _gram(a_MD: Tensor, b_ND: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return (squared distances `[M, N]`, lengths `[M]`, `[N]`, longest chain of additions), all from a common centre.

    The centre is the first row of `b`, of which near copies are no further than they are from each other.
    """
    import torch

    (count, dim), others = a_MD.shape, len(b_ND)
    same = a_MD.data_ptr() == b_ND.data_ptr() and a_MD.shape == b_ND.shape and a_MD.stride() == b_ND.stride()
    width, step = max(1, min(COLUMNS, WIDE // max(1, count + others))), max(1, -(-count // PARTS) if same else count)
    room = torch.empty((count + others) * width, dtype=torch.float64)
    square_MN = torch.zeros(count, others, dtype=torch.float64)
    a_M, b_N = torch.zeros(count, dtype=torch.float64), torch.zeros(others, dtype=torch.float64)
    for _, a_MC, b_NC in windows(a_MD, b_ND, width=width):
        centre_C = b_NC[0].nan_to_num(0, 0, 0)
        from_NC = room[: b_NC.numel()].view(b_NC.shape).copy_(b_NC).sub_(centre_C)
        b_N += torch.linalg.vector_norm(from_NC, dim=1).square_()
        from_MC = from_NC
        if not same:
            from_MC = room[b_NC.numel() :][: a_MC.numel()].view(a_MC.shape).copy_(a_MC).sub_(centre_C)
            a_M += torch.linalg.vector_norm(from_MC, dim=1).square_()
        for start in range(0, count, step):
            left = start if same else 0  # of rows with themselves, the half that is not the other's mirror image
            square_MN[start : start + step, left:].addmm_(from_MC[start : start + step], from_NC[left:].T)
    if same:
        a_M, square_MN = b_N, square_MN.triu_().add_(square_MN.triu(1).T)
    square_MN.mul_(-2).add_(a_M[:, None]).add_(b_N)
    return square_MN, a_M.sqrt(), b_N.sqrt(), width + -(-dim // width)


def _squares(a_MD: Tensor, b_ND: Tensor, m_P: Tensor, n_P: Tensor) -> Tensor:
    """Return squared distances of pairs of rows, `[P]` in float64; a pair's do not depend on the other pairs."""
    import torch

    width = max(1, min(COLUMNS, b_ND.shape[1]))
    at_once = NUMBERS // width
    pairs = len(m_P)
    if pairs % at_once == 1:  # the sum of one row alone would be shared among threads, and so be another
        m_P, n_P = (torch.cat([index_P, index_P[-1:]]) for index_P in (m_P, n_P))
    square_P = torch.zeros(len(m_P), dtype=torch.float64)
    room = [torch.empty(at_once * width, dtype=dtype) for dtype in (a_MD.dtype, b_ND.dtype, torch.float64)]
    for _, a_MC, b_NC in windows(a_MD, b_ND):
        for m_p, n_p, square_p in zip(*(part_P.split(at_once) for part_P in (m_P, n_P, square_P)), strict=True):
            shape = len(m_p), a_MC.shape[1]
            a_pC, b_pC, wide_pC = (part[: shape[0] * shape[1]].view(shape) for part in room)
            torch.index_select(a_MC, 0, m_p, out=a_pC)
            torch.index_select(b_NC, 0, n_p, out=b_pC)
            square_p += wide_pC.copy_(torch.sub(b_pC, a_pC, out=b_pC)).square_().sum(dim=1)
    return square_P[:pairs]

"""Whether chains have come to one distribution, and how many independent draws theirs are worth.

Vehtari, Gelman, Simpson, Carpenter and Bürkner 2021, "Rank-normalization, folding, and localization: an improved R-hat
for assessing convergence of MCMC" (arXiv 1903.08008): R-hat is the larger of equation 4 for the draws' normal scores
and for those of their distances from the median; the effective sample size of the bulk is that of the normal scores
(equations 10 to 13). Each chain counts as two.

C chains, S draws of each, Q quantities.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEAST = 4
"""Draws of a chain from which anything can be said."""
AT_ONCE = 256
"""Quantities."""
SHIFT, SPREAD = 3 / 8, 1 / 4
"""Blom's offsets, of equation 14."""


def both(draws_CSQ: Tensor) -> tuple[Tensor, Tensor]:
    """Return (rank-normalised R-hat, effective sample size of the bulk) of each quantity, `[Q]` in float64.

    Of one that never changes they are 1 and the number of draws. Raises ValueError where chains have fewer than four
    draws.
    """
    parts = [_both(part_CSQ) for part_CSQ in draws_CSQ.split(AT_ONCE, dim=2)]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def rhat(draws_CSQ: Tensor) -> Tensor:
    """Return the rank-normalised R-hat of each quantity alone; see `both`."""
    return both(draws_CSQ)[0]


def ess(draws_CSQ: Tensor) -> Tensor:
    """Return the effective sample size of each quantity's bulk alone; see `both`."""
    return both(draws_CSQ)[1]


def _both(draws_CSQ: Tensor) -> tuple[Tensor, Tensor]:
    halves_HSQ = _halves(draws_CSQ)
    score_HSQ = _scores(halves_HSQ)
    folded_HSQ = (halves_HSQ - _median(halves_HSQ.flatten(0, 1))).abs()
    return torch.maximum(_plain_rhat(score_HSQ), _plain_rhat(_scores(folded_HSQ))), _ess(score_HSQ)


def _halves(draws_CSQ: Tensor) -> Tensor:
    """Return each chain's first and last half as chains, float64; the middle one of an odd number of draws is left."""
    draws = draws_CSQ.shape[1]
    if draws < LEAST:
        raise ValueError(f"{draws} draws of a chain say nothing of its convergence; take at least {LEAST}")
    half = draws // 2
    return torch.cat([draws_CSQ[:, :half], draws_CSQ[:, draws - half :]]).double()


def _median(rows_RQ: Tensor) -> Tensor:
    """Return the median, the mean of the middle two where their number is even."""
    ordered_RQ, count = rows_RQ.sort(dim=0).values, len(rows_RQ)
    return (ordered_RQ[(count - 1) // 2] + ordered_RQ[count // 2]) / 2


def _scores(draws_HSQ: Tensor) -> Tensor:
    """Return the normal scores of ranks among all draws; equal ones have their mean rank."""
    rows_RQ = draws_HSQ.flatten(0, 1)
    count = len(rows_RQ)
    ordered_QR, order_QR = rows_RQ.T.contiguous().sort(dim=1)
    first_QR = torch.searchsorted(ordered_QR, ordered_QR, side="left")
    last_QR = torch.searchsorted(ordered_QR, ordered_QR, side="right")
    rank_QR = torch.empty_like(ordered_QR).scatter_(1, order_QR, (first_QR + last_QR + 1).double() / 2)
    score_QR = torch.special.ndtri((rank_QR - SHIFT) / (count + SPREAD))
    return score_QR.T.view(draws_HSQ.shape)


def _parts(draws_HSQ: Tensor) -> tuple[Tensor, Tensor]:
    """Return (the mean variance within chains, the estimate of the whole variance), `[Q]`: equations 2 and 3."""
    count = draws_HSQ.shape[1]
    within_Q = draws_HSQ.var(dim=1).mean(dim=0)
    between_Q = draws_HSQ.mean(dim=1).var(dim=0) if len(draws_HSQ) > 1 else torch.zeros_like(within_Q)
    return within_Q, within_Q * (count - 1) / count + between_Q


def _plain_rhat(draws_HSQ: Tensor) -> Tensor:
    within_Q, whole_Q = _parts(draws_HSQ)
    never_Q = whole_Q == 0  # chains that stand still at different places have an R-hat that is infinite
    return torch.where(never_Q, 1.0, (whole_Q / within_Q).sqrt())


def _ess(draws_HSQ: Tensor) -> Tensor:
    """Return the effective sample size by Geyer's initial monotone sequence: sums of pairs of autocorrelations.

    As the authors' implementations have it, the even lag after the last pair counts once where it is positive.
    """
    total, count = draws_HSQ.shape[0] * draws_HSQ.shape[1], draws_HSQ.shape[1]
    within_Q, whole_Q = _parts(draws_HSQ)
    never_Q = whole_Q == 0
    scale_Q = torch.where(never_Q, 1.0, whole_Q)
    rho_SQ = 1 - (within_Q - _autocovariances(draws_HSQ).mean(dim=0)) / scale_Q
    rho_SQ[0] = 1.0
    pairs = max(1, (count - 1) // 2)
    pair_PQ = rho_SQ[: 2 * pairs].unflatten(0, (pairs, 2)).sum(dim=1)
    kept_PQ = (pair_PQ > 0).cumprod(dim=0).bool()
    kept_PQ[-1] = False
    sums_Q = torch.where(kept_PQ, pair_PQ.cummin(dim=0).values, 0.0).sum(dim=0)
    after_Q = rho_SQ.gather(0, 2 * kept_PQ.sum(dim=0, keepdim=True))[0].clamp_min(0.0)
    time_Q = (2 * sums_Q - 1 + after_Q).clamp_min(1 / math.log10(total))
    return torch.where(never_Q, float(total), total / time_Q)


def _autocovariances(draws_HSQ: Tensor) -> Tensor:
    """Return the autocovariances of each chain at every lag, the biased estimate, by Fourier's transform."""
    count = draws_HSQ.shape[1]
    centred_HSQ = draws_HSQ - draws_HSQ.mean(dim=1, keepdim=True)
    size = 2 ** math.ceil(math.log2(2 * count))
    spectrum = torch.fft.rfft(centred_HSQ, n=size, dim=1)
    return torch.fft.irfft(spectrum.abs().square(), n=size, dim=1)[:, :count] / count

"""Likelihood, calibration and ensembles of populations, from their log-probabilities `[M, E, K]`."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

BINS = 15
AT_ONCE = 2**24
"""Numbers held in float32 at a time."""
AT_A_TIME = 256
"""Ensembles drawn together."""
STANDS = 0.00025
"""Standard error at which the digits that are printed stand: three of a likelihood, tenths of a point of a score."""


def likelihood(logp_MEK: Tensor, targets_E: Tensor) -> Tensor:
    """Return the negative log-likelihood of each network, `[M]` in float64."""
    picked_ME = logp_MEK.gather(2, targets_E.long().expand(len(logp_MEK), -1)[..., None])[..., 0]
    return -picked_ME.double().mean(dim=1)


def calibration_error(logp_MEK: Tensor, targets_E: Tensor) -> Tensor:
    """Return the expected calibration error, `[M]`: 15 bins of equal width (Guo et al. 2017, arXiv 1706.04599)."""
    rows = []
    for logp_EK in logp_MEK:
        confidence_E, class_E = logp_EK.double().exp().max(dim=1)
        bin_E = (confidence_E * BINS).ceil().long().clamp(1, BINS) - 1
        gap_E = (class_E == targets_E).double() - confidence_E
        rows.append(torch.zeros(BINS, dtype=torch.float64).index_add_(0, bin_E, gap_E).abs().sum() / len(targets_E))
    return torch.stack(rows)


def ensemble(logp_MEK: Tensor, targets_E: Tensor) -> tuple[float, float]:
    """Return (accuracy, negative log-likelihood) of the mean of all networks' probabilities."""
    right_R, nll_R = _drawn(logp_MEK, targets_E, torch.full((1, len(logp_MEK)), 1 / len(logp_MEK)))
    return float(right_R), float(nll_R)


def as_classes(logp_ME: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-densities of targets as log-probabilities of a single class, which all targets are."""
    return logp_ME[..., None], torch.zeros(logp_ME.shape[1], dtype=torch.int64)


class Ensembles(NamedTuple):
    """Means over ensembles of one size, with the standard errors that so many draws leave."""

    score: float
    score_error: float
    nll: float
    nll_error: float
    draws: int


def ensembles(logp_MEK: Tensor, targets_E: Tensor, members: int, most: int, generator: torch.Generator) -> Ensembles:
    """Return what ensembles of so many networks, drawn at random without repetition, give in the mean.

    At most `most` are drawn, fewer where the standard errors are below `STANDS` before.
    """
    if members >= len(logp_MEK):
        whole = ensemble(logp_MEK, targets_E)
        return Ensembles(whole[0], 0.0, whole[1], 0.0, 1)
    right: list[Tensor] = []
    nll: list[Tensor] = []
    while True:
        count = min(AT_A_TIME, most - sum(map(len, right)))
        weight_RM = torch.zeros(count, len(logp_MEK))
        chosen_RK = torch.rand(weight_RM.shape, generator=generator).topk(members, dim=1).indices
        right_R, nll_R = _drawn(logp_MEK, targets_E, weight_RM.scatter_(1, chosen_RK, 1 / members))
        right.append(right_R)
        nll.append(nll_R)
        both_2R = torch.stack([torch.cat(right), torch.cat(nll)])
        draws = both_2R.shape[1]
        errors = both_2R.std(dim=1) / math.sqrt(draws) if draws > 1 else torch.full((2,), math.inf)
        if draws >= most or float(errors.max()) <= STANDS:
            (score, loss), (score_error, nll_error) = both_2R.mean(dim=1).tolist(), errors.tolist()
            return Ensembles(score, score_error, loss, nll_error, draws)


def _drawn(logp_MEK: Tensor, targets_E: Tensor, weight_RM: Tensor) -> tuple[Tensor, Tensor]:
    """Return accuracy and negative log-likelihood `[R]` (float64) of R weighted means of the probabilities."""
    draws, (networks, examples, classes) = len(weight_RM), logp_MEK.shape
    right_R, nll_R = torch.zeros(2, draws, dtype=torch.float64)
    step = max(1, AT_ONCE // (max(draws, networks) * classes))
    for logp_MeK, target_e in zip(logp_MEK.split(step, dim=1), targets_E.long().split(step), strict=True):
        scale_e = logp_MeK.double().amax(dim=0)[:, 0] if classes == 1 else torch.zeros(len(target_e))  # of densities
        scaled_MeK = (logp_MeK - scale_e[:, None]).float().exp() if classes == 1 else logp_MeK.float().exp()
        mean_ReK = (weight_RM @ scaled_MeK.flatten(1)).view(draws, len(target_e), classes)
        right_R += (mean_ReK.argmax(dim=2) == target_e).sum(dim=1)
        chance_Re = mean_ReK.gather(2, target_e.expand(draws, -1)[..., None])[..., 0]
        nll_R -= chance_Re.clamp_min(torch.finfo(torch.float32).tiny).double().log().sum(dim=1) + scale_e.sum()
    return right_R / examples, nll_R / examples

"""Likelihood, calibration and ensembles of populations, from their log-probabilities `[M, E, K]`."""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 15
AT_ONCE = 2**25
"""Numbers held in float32 at a time."""


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
    """Return (accuracy, negative log-likelihood) of the mean of the networks' probabilities."""
    step = max(1, AT_ONCE // logp_MEK[0].numel())
    mean_EK = sum(part.float().exp().sum(dim=0) for part in logp_MEK.split(step)).double() / len(logp_MEK)
    right = float((mean_EK.argmax(dim=1) == targets_E).double().mean())
    chance_E = mean_EK.gather(1, targets_E.long()[:, None]).clamp_min(torch.finfo(torch.float32).tiny)
    return right, float(-chance_E.log().mean())


def ensembles(logp_MEK: Tensor, targets_E: Tensor, members: int, draws: int, generator: torch.Generator) -> Tensor:
    """Return mean (accuracy, negative log-likelihood) of ensembles of so many networks, drawn at random."""
    both = []
    for _ in range(draws):
        chosen = torch.randperm(len(logp_MEK), generator=generator)[:members]
        both.append(ensemble(logp_MEK[chosen], targets_E))
    return torch.tensor(both, dtype=torch.float64).mean(dim=0)

"""Likelihoods of ensembles, plain and after one temperature. E examples, K classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import nll_loss

LEAST, MOST = 0.05, 20.0
"""Temperatures that are looked at."""
STEPS = 60


def likelihoods(logp_EK: Tensor, targets_E: Tensor) -> tuple[float, float]:
    """Return the negative log-likelihood, and that after the best temperature.

    Guo et al. 2017, arXiv 1706.04599, section 4.2: convex in the inverse temperature, whose interval is halved.
    """
    logp_EK, targets_E = logp_EK.double(), targets_E.long()
    logp_EK = logp_EK.clamp_min(torch.finfo(torch.float32).min)  # a member may be certain
    right_E = logp_EK.gather(1, targets_E[:, None])[:, 0]
    low, high = 1 / MOST, 1 / LEAST
    for _ in range(STEPS):
        inverse = math.sqrt(low * high)
        mean_E = ((logp_EK * inverse).softmax(dim=1) * logp_EK).sum(dim=1)
        low, high = (low, inverse) if float((mean_E - right_E).mean()) > 0 else (inverse, high)
    calibrated = nll_loss((logp_EK * math.sqrt(low * high)).log_softmax(dim=1), targets_E)
    return float(nll_loss(logp_EK.log_softmax(dim=1), targets_E)), float(calibrated)


def best(losses: list[float]) -> int:
    """Return the place of the smallest, the last of equals; what is no number counts as the largest."""
    kept = [math.inf if math.isnan(loss) else loss for loss in losses]
    return len(kept) - 1 - kept[::-1].index(min(kept))

"""Likelihoods of ensembles, plain and after temperature scaling. E examples, K classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from pdiff_plugins.maths.tempering import temperatures, tempered


def likelihoods(logp_EK: Tensor, targets_E: Tensor) -> tuple[float, float]:
    """Return the negative log-likelihood, and that after the best temperature."""
    logp_EK, targets_E = logp_EK.double(), targets_E.long()
    logp_EK = logp_EK.clamp_min(torch.finfo(torch.float32).min)  # a member may be certain
    calm_EK = tempered(logp_EK[None], temperatures(logp_EK[None], targets_E)[:, None])[0]
    return float(nll_loss(logp_EK.log_softmax(dim=1), targets_E)), float(nll_loss(calm_EK, targets_E))


def best(losses: list[float]) -> int:
    """Return the place of the smallest, the last of equals; what is no number counts as the largest."""
    kept = [math.inf if math.isnan(loss) else loss for loss in losses]
    return len(kept) - 1 - kept[::-1].index(min(kept))

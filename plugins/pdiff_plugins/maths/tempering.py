"""Temperature scaling: one temperature for each ensemble, of the largest likelihood.

R ensembles, E examples, K classes."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST, MOST = 0.05, 20.0
"""Temperatures that are tried."""
STEPS = 100
CLOSE = 1e-10
"""Change of the logarithm of the inverse temperature at which the search ends."""
AT_ONCE = 2**20
"""Numbers held in float64 at a time."""


def tempered(logp_REK: Tensor, temperature_RE: Tensor) -> Tensor:
    """Return log-probabilities at temperatures, `[R, 1]` or `[R, E]`, in float64."""
    return (logp_REK.double() / temperature_RE[..., None]).log_softmax(dim=2)


def temperatures(logp_REK: Tensor, targets_E: Tensor) -> Tensor:
    """Return the temperatures of the smallest negative log-likelihoods, `[R]` in float64, between `LEAST` and `MOST`.

    Of an ensemble that is right in all examples the best would be 0, which no other example bears: it has 1.
    Guo et al. 2017, arXiv 1706.04599, section 4.2. The likelihood is convex in the inverse temperature: Newton's steps,
    and halvings of the interval that has the minimum where a step leaves it.
    """
    step = max(1, AT_ONCE // max(1, logp_REK[0].numel()))
    fitted_R = torch.cat([_fitted(part_REK.double(), targets_E.long()) for part_REK in logp_REK.split(step)])
    return torch.where(all_right(logp_REK, targets_E), 1.0, fitted_R)


def all_right(logp_REK: Tensor, targets_E: Tensor) -> Tensor:
    """Return of each ensemble whether it is right in all examples, `[R]`, so that no temperature can be fitted."""
    return (logp_REK.argmax(dim=2) == targets_E).all(dim=1)


def _fitted(logp_REK: Tensor, targets_E: Tensor) -> Tensor:
    logp_REK = logp_REK - logp_REK.amax(dim=2, keepdim=True)
    picked_RE = logp_REK.gather(2, targets_E.expand(len(logp_REK), -1)[..., None])[..., 0]
    low_R = torch.full((len(logp_REK),), 1 / MOST, dtype=torch.float64)
    high_R = torch.full_like(low_R, 1 / LEAST)
    inverse_R = torch.ones_like(low_R)
    for _ in range(STEPS):
        p_REK = (logp_REK * inverse_R[:, None, None]).softmax(dim=2)
        mean_RE = (p_REK * logp_REK).sum(dim=2)
        slope_R = (mean_RE - picked_RE).mean(dim=1)
        curve_R = ((p_REK * logp_REK.square()).sum(dim=2) - mean_RE.square()).mean(dim=1)
        low_R, high_R = torch.where(slope_R < 0, inverse_R, low_R), torch.where(slope_R < 0, high_R, inverse_R)
        newton_R = inverse_R - slope_R / curve_R.clamp_min(1e-30)
        inside_R = (newton_R > low_R) & (newton_R < high_R)
        done_R = (newton_R - inverse_R).abs() < CLOSE * inverse_R  # the minimum found is an end of its interval
        next_R = torch.where(inside_R | done_R, newton_R, (low_R * high_R).sqrt())
        moved_R = (next_R.log() - inverse_R.log()).abs()
        inverse_R = next_R
        if float(moved_R.max()) < CLOSE:
            break
    return 1 / inverse_R

"""Differences of calibrated log-likelihoods, networks and examples being crossed random effects.

R ensembles, M members, E examples, S what is drawn: members, or ensembles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff_plugins.maths.crossed import difference, gain_of, holm

if TYPE_CHECKING:
    from pdiff_plugins.uncertainty.scores import Gain

GROUPS = 100
"""Of examples, of which likelihoods are kept for runs with other seeds."""


def pseudo(whole_RE: Tensor, without_ME: Tensor) -> Tensor:
    """Return the jackknife's pseudo-values `[M, E]` of ensembles' scores: what each member makes of its ensemble.

    Their mean is the ensembles'; what the jackknife corrects of a bias is left out. `without_ME`: scores of each
    ensemble without one of its members, ensemble by ensemble.
    """
    without_RmE = without_ME.view(len(whole_RE), -1, whole_RE.shape[1])
    away_RmE = without_RmE - without_RmE.mean(dim=1, keepdim=True)
    return (whole_RE[:, None] - (without_RmE.shape[1] - 1) * away_RmE).flatten(0, 1)


def gains(score_SE: Mapping[str, Tensor], method: str, networks: Mapping[str, int]) -> dict[str, Gain]:
    """Return by source what the method gains over it, those that it comes nearest to first.

    Holm's correction is over all of them.
    """
    others = {name: difference(score_SE[method], theirs) for name, theirs in score_SE.items() if name != method}
    others = {name: gain for name, gain in others.items() if math.isfinite(gain.mean + gain.error)}
    told = dict(zip(others, holm([gain.chance for gain in others.values()]), strict=True))
    ordered = sorted(others.items(), key=lambda pair: pair[1].mean)
    return {name: {**gain_of(gain, told[name]), "networks": networks.get(name, 1)} for name, gain in ordered}


def grouped(score_E: Tensor) -> list[float]:
    """Return scores of at most `GROUPS` groups of examples, whose mean is the mean over examples."""
    count = min(GROUPS, len(score_E))
    group_E = torch.arange(len(score_E)) % count
    sum_G = torch.zeros(count, dtype=torch.float64).index_add_(0, group_E, score_E.double())
    return (sum_G * count / len(score_E)).tolist()

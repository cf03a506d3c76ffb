"""Deep-ensemble equivalent: how many networks, trained one by one, have together the same calibrated log-likelihood.

Ashukha et al. 2020, Pitfalls of In-Domain Uncertainty Estimation and Ensembling in Deep Learning, arXiv 2002.06470,
section 5. k networks, E examples, K classes, S sub-ensembles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pdiff_plugins.maths.crossed import difference

DRAWS = 64
"""Sub-ensembles of a size at most, where there are more."""
NUMBERS = 2**26
"""Probabilities of sub-ensembles of one size that are worth being computed; but one for each network at least."""
EVERY = 16
"""Size up to which ensembles of every size are looked at; then of each that is a quarter larger."""


class Equivalent(NamedTuple):
    """A number of networks, and the ends of its interval of 95 %; each at most the curve's, and at least 1."""

    size: float
    low: float
    high: float
    beyond: tuple[int, int, int]
    """Of each: -1 where it is less than 1, 1 where it is more than the curve has, else 0."""


@dataclass(frozen=True)
class Curve:
    """Mean calibrated log-likelihoods of deep ensembles by their size."""

    sizes: list[int]
    score_NE: Tensor
    """By size and example, the mean over sub-ensembles."""
    pseudo_NkE: Tensor
    """By size, the jackknife's pseudo-values of the networks, whose mean is the score."""

    @property
    def values(self) -> list[float]:
        return self.score_NE.mean(dim=1).tolist()

    def equivalent(self, score_SE: Tensor) -> Equivalent:
        """Return the size of deep ensembles as good as a row, whose draws score so.

        By linear interpolation between sizes. The interval holds those sizes at which the difference of the two may be
        chance, networks of both and examples being crossed random effects; so it needs no resampling, which makes
        smaller ensembles of networks drawn twice.
        """
        gaps = [difference(score_SE, pseudo_kE) for pseudo_kE in self.pseudo_NkE]
        ends = [(gap.mean, *gap.interval()) for gap in gaps]
        (size, beyond), (low, below), (high, above) = (
            _crossing(self.sizes, list(end_N)) for end_N in zip(*ends, strict=True)
        )
        return Equivalent(size, low, high, (beyond, below, above))


def _crossing(sizes: list[int], gap_N: list[float]) -> tuple[float, Literal[-1, 0, 1]]:
    """Return the first size at which a gap that falls with it is closed, and whether it lies below or above all."""
    if gap_N[0] < 0:
        return float(sizes[0]), -1
    for number, (here, there) in enumerate(itertools.pairwise(gap_N)):
        if there <= 0:
            share = here / (here - there) if here > there else 0.0
            return sizes[number] + share * (sizes[number + 1] - sizes[number]), 0
    return float(sizes[-1]), 0 if gap_N[-1] <= 0 else 1


def curve(count: int, numbers: int, generator: torch.Generator, score: Callable[[Tensor], Tensor]) -> Curve:
    """Return the curve of `count` networks.

    Args:
        count: k.
        numbers: probabilities of one ensemble, on all examples that are looked at.
        generator: draws sub-ensembles.
        score: gives for weights `[S, k]` of networks the calibrated log-likelihoods of their ensembles, `[S, E]`.
    """
    rounds = -(-min(DRAWS, NUMBERS // numbers) // count) or 1
    order_Sk = orders(count, rounds, generator)
    sizes = sizes_up_to(count)
    scores, pseudos = list[Tensor](), list[Tensor]()
    for size in sizes:
        member_Sk = sub_ensembles(order_Sk, size)
        mean_E, slope_kE = _linear(member_Sk, score(member_Sk / size))
        known = 2 * size <= count or size == 1  # of more than half, what a network adds is hardly seen
        pseudos.append(mean_E + (size * slope_kE if known else pseudos[-1] - scores[-1]))
        scores.append(mean_E)
    return Curve(sizes, torch.stack(scores), torch.stack(pseudos))


def sizes_up_to(count: int) -> list[int]:
    """Return the sizes that are looked at."""
    sizes = list(range(1, min(count, EVERY) + 1))
    while sizes[-1] < count:
        sizes.append(min(count, math.ceil(sizes[-1] * 1.25)))
    return sizes


def orders(count: int, rounds: int, generator: torch.Generator) -> Tensor:
    """Return orders of the networks, `[rounds * k, k]`, in which each is as often at each place as any other."""
    rows = [torch.randperm(count, generator=generator) for _ in range(rounds)]
    return torch.stack([order_k.roll(shift) for order_k in rows for shift in range(count)])


def sub_ensembles(order_Sk: Tensor, size: int) -> Tensor:
    """Return which networks are in which sub-ensemble, `[S, k]` of 0 and 1: all there are, or the first of each order.

    So sub-ensembles of one size are parts of those of the next, and the chance of the draw shifts the curve as a whole.
    """
    draws, count = order_Sk.shape
    chosen = order_Sk[:, :size]
    if math.comb(count, size) <= draws:
        chosen = torch.tensor(list(itertools.combinations(range(count), size)))
    return torch.zeros(len(chosen), count).scatter_(1, chosen, 1.0)


def _linear(member_Sk: Tensor, score_SE: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean over sub-ensembles, and what each network adds to one that it is in, less the mean of that.

    By least squares: the other networks that a draw puts beside it do not count.
    """
    away_Sk, mean_E = member_Sk.double() - member_Sk.double().mean(dim=0), score_SE.double().mean(dim=0)
    slope_kE = torch.linalg.pinv(away_Sk) @ (score_SE.double() - mean_E)
    slope_kE = slope_kE - slope_kE.mean(dim=0)
    return mean_E, slope_kE

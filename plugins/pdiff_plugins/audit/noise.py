"""Plain noise as a control: whether the directions in which checkpoints differ matter, and what distance is worth.

In millions of dimensions isotropic noise as long as the checkpoints' own spread can be harmless. Then networks are new
without being worse, and nothing that is measured of a generator says anything of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff.mapped import windows
from pdiff_plugins.audit.probabilities import as_classes, likelihood
from pdiff_plugins.baselines.spreads import around_average, fill_with_noise, norms
from pdiff_plugins.evaluators.telling import answers, apart, evenly
from pdiff_plugins.maths.median import median

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff.zoo import Layout
    from pdiff_plugins.audit.novelty import Distances
    from pdiff_plugins.audit.scores import Spread

NETWORKS = 16
"""Of each population of noise."""
ROUNDS = 6
"""In which noise is made as long as wanted, where lengths are of products."""
BEYOND = 1.1
"""How far beyond a multiple of the checkpoints' own distance noise is put, so that it counts as that far."""
FEW = 10
"""Networks of which less cannot be told how they differ."""
HARDLY = 1.25
"""Factor by which networks must differ more than noise, or it is not more."""
CLEARLY = 1.96
"""Standard errors by which two numbers must differ to be told apart."""
ROUNDING = 1e-9
"""What means of equal numbers may differ by, where all networks score alike."""


@dataclass(frozen=True)
class Behaviour:
    """How networks of a population differ from one another, of each network."""

    score_M: Tensor
    apart_M: Tensor
    """Mean share of test examples on which another network answers otherwise."""
    nll_M: Tensor | None
    """None where there are no classes."""
    examples: int

    def told(self) -> Spread:
        """Return it as numbers of the population."""
        spread: Spread = {"score": float(self.score_M.mean()), "apart": float(self.apart_M.mean())}
        if self.nll_M is not None:
            spread |= {"nll": float(self.nll_M.mean()), "nll_std": float(self.nll_M.std())}
        return spread

    def beyond(self, noise: Behaviour) -> bool | None:
        """Return whether these networks differ more than those of noise, in answers and in likelihood.

        True also where noise is clearly worse than they are: then its directions are not the checkpoints'. None where
        it cannot be told: of few networks, or where more is seen that chance may have given.
        """
        if len(self.score_M) < FEW:
            return None
        if _larger(self.score_M, noise.score_M):
            return True
        both = [_more(self.apart_M, noise.apart_M, 1 / self.examples, shared=2)]  # of a pair each half counts twice
        if self.nll_M is not None and noise.nll_M is not None:
            both.append(_more(_away(self.nll_M), _away(noise.nll_M)))
        return False if False in both else None if None in both else True

    def beside(self, noise: Behaviour) -> str:
        """Return how much these networks differ from one another, and those of noise, in words."""
        told, theirs = self.told(), noise.told()
        words = f"two of them answer {told['apart']:.2%} of test examples otherwise, of noise {theirs['apart']:.2%}"
        if "nll_std" in told and "nll_std" in theirs:
            words += f"; their NLL has a deviation of {told['nll_std']:.4f}, that of noise {theirs['nll_std']:.4f}"
        return words


def behaviour(view: View, source: str, logp: tuple[Tensor, Tensor] | None) -> Behaviour | None:
    """Return the behaviour of a source's networks, of many some; None of a single one."""
    predictions = view.predictions(source, "test")
    if len(predictions) < 2:
        return None
    chosen = evenly(len(predictions))
    return _behaviour(view, predictions[chosen], logp and (logp[0][chosen], logp[1]))


def of_noise(view: View, examples: int, ctx: Context) -> Behaviour:
    """Return the behaviour of noise around the average, as long as the checkpoints' own spread."""
    theta_MD = around_average(view.zoo, NETWORKS, 1.0, ctx, ctx.generator("zoo noise"))
    predictions = view.bench.predict(theta_MD, "test")
    logp = view.bench.log_probabilities(theta_MD, "test", examples)
    if (
        logp is None
        and (logp_ME := density(view, predictions, view.bench.predict(theta_MD, view.selection))) is not None
    ):
        logp = as_classes(logp_ME)
    return _behaviour(view, predictions, logp)


def density(view: View, predictions: Tensor, known: Tensor) -> Tensor | None:
    """Return log-densities `[M, E]` of the test split's targets, from predictions on it and on the selection split."""
    targets = view.targets("test")
    return view.recipe.task.log_density(predictions, targets, (known, view.targets(view.selection)))


def _behaviour(view: View, predictions: Tensor, logp: tuple[Tensor, Tensor] | None) -> Behaviour:
    given = answers(view, predictions).flatten(1)
    score_M = view.recipe.task.score(predictions, view.targets("test"))
    return Behaviour(score_M, apart(given), likelihood(*logp) if logp else None, given.shape[1])


def _more(a_M: Tensor, b_N: Tensor, least: float = 0.0, shared: int = 1) -> bool | None:
    """Return whether one mean is clearly larger (True), or hardly (False), by a factor and `least`; else None."""
    ours, theirs = float(a_M.double().mean()), float(b_N.double().mean())
    if ours <= max(HARDLY * theirs, theirs + least):
        return False
    return _larger(a_M, b_N, shared) or None


def _larger(a_M: Tensor, b_N: Tensor, shared: int = 1) -> bool:
    """Return whether one mean is clearly larger; `shared`: numbers that each network enters, as one of a pair."""
    variance = sum(shared**2 * float(x.double().var()) / len(x) for x in (a_M, b_N))
    gap = float(a_M.double().mean() - b_N.double().mean())
    return gap > max(CLEARLY * math.sqrt(variance), ROUNDING)


def _away(values_M: Tensor) -> Tensor:
    """Return distances from the middle, whose means Brown and Forsythe compare to tell spreads apart."""
    return (values_M.double() - median(values_M)).abs()


def beside(
    theta_ND: Tensor, layout: Layout, distances: Sequence[float], ctx: Context, generator: torch.Generator
) -> Tensor:
    """Return `NETWORKS` networks for each distance: random ones of theta_ND, moved so far in an even direction.

    What must stay positive stays as it is.
    """
    fixed = [entry.columns for entry in layout.entries if entry.positive]
    theta_MD = ctx.empty(NETWORKS * len(distances), layout.dim)
    for distance, part_MD in zip(distances, theta_MD.split(NETWORKS), strict=True):
        fill_with_noise(part_MD, generator)
        for columns in fixed:
            part_MD[:, columns] = 0
        factor_M1 = (distance / norms(part_MD).clamp_min(1e-12)).float()[:, None]
        chosen_M = torch.randint(len(theta_ND), (NETWORKS,), generator=generator)
        for _, near_NW, into_MW in windows(theta_ND, part_MD):
            into_MW.mul_(factor_M1).add_(near_NW[chosen_M])
    return theta_MD


def passing(view: View, far: Distances, bar: float, multiples: Sequence[float], ctx: Context) -> list[float]:
    """Return by multiple the share of noisy checkpoints, so many units from others, that score at least `bar`."""
    wanted, layout = [BEYOND * multiple * far.unit for multiple in multiples], view.zoo.layout
    theta_MD = beside(far.zoo_ND, layout, wanted, ctx, ctx.generator("noise beside"))
    if far.products:
        chosen_MD = beside(far.zoo_ND, layout, [0.0] * len(wanted), ctx, ctx.generator("noise beside"))
        _as_far(view, theta_MD, chosen_MD, torch.tensor(wanted).double().repeat_interleave(NETWORKS))
    score_M = view.recipe.task.score(view.bench.predict(theta_MD, "test"), view.targets("test"))
    return (score_M.view(len(multiples), NETWORKS) >= bar).double().mean(dim=1).tolist()


def _as_far(view: View, theta_MD: Tensor, chosen_MD: Tensor, wanted_M: Tensor) -> None:
    """Move networks along their lines from others, in place, until they are so far from these in coordinates.

    Products grow as a distance of factors to a power from 1 to 2; a step by the power 1 / 1.5 leaves a third of an
    error's logarithm at most.
    """
    z_MZ = view.bench.coordinates(chosen_MD)
    for _ in range(ROUNDS):
        apart_M = (view.bench.coordinates(theta_MD) - z_MZ).double().norm(dim=1).clamp_min(1e-12)
        factor_M1 = ((wanted_M / apart_M) ** (1 / 1.5)).float()[:, None]
        for _, into_MW, from_MW in windows(theta_MD, chosen_MD):
            into_MW.sub_(from_MW).mul_(factor_M1).add_(from_MW)

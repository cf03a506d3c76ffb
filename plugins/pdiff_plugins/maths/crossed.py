"""The difference between two populations of networks, networks and examples being crossed random effects.

Who draws the networks again, or the examples, gets another difference; an interval must say how far another. Resampling
the examples alone leaves out what networks differ by, which many examples do not make smaller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypedDict

if TYPE_CHECKING:
    from torch import Tensor

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """A difference of means, its standard error, and the degrees of freedom that the error is known by."""

    mean: float
    error: float
    freedom: float

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the ends of the interval that holds the true difference in so many cases."""
        from scipy.special import stdtrit

        reach = self.error * float(stdtrit(min(self.freedom, 1e9), (1 + level) / 2)) if self.error else 0.0
        return self.mean - reach, self.mean + reach

    @property
    def chance(self) -> float:
        """The probability of a difference at least as large, in either direction, where there is none."""
        from scipy.special import stdtr

        if not self.error:
            return float(self.mean == 0)
        return 2 * float(stdtr(min(self.freedom, 1e9), -abs(self.mean) / self.error))


class Gain(TypedDict):
    """What one row has more than another, with its interval of 95 %, as scores have it."""

    mean: Annotated[float, "the difference"]
    low: Annotated[float, "lower end of the interval"]
    high: Annotated[float, "upper end of the interval"]
    error: Annotated[float, "standard error: what is drawn anew is crossed random effects"]
    freedom: Annotated[float, "degrees of freedom of the error"]
    chance: Annotated[float, "probability of so large a difference where there is none"]
    said: Annotated[str, "better, worse, or empty where it may be chance (Holm's correction over all compared)"]


def gain_of(gain: Difference, told: bool) -> Gain:
    """Return a difference as scores have it; `told`: whether it is claimed."""
    low, high = gain.interval()
    return {
        "mean": gain.mean, "low": low, "high": high, "error": gain.error, "freedom": min(gain.freedom, 1e9),
        "chance": gain.chance, "said": ("better" if gain.mean > 0 else "worse") if told and gain.mean else "",
    }  # fmt: skip


def difference(a_ME: Tensor, b_NE: Tensor) -> Difference:
    """Return the mean of `a` less that of `b`: scores of M and of N networks on the same examples.

    A population of one network is that network, and no draw from anything. The effects' variances add up; their degrees
    of freedom are Welch and Satterthwaite's.
    """
    a_ME, b_NE = a_ME.double(), b_NE.double()
    difference_E = a_ME.mean(dim=0) - b_NE.mean(dim=0)
    examples = len(difference_E)
    networks = [float(x_ME.mean(dim=1).var()) / len(x_ME) if len(x_ME) > 1 else 0.0 for x_ME in (a_ME, b_NE)]
    noise = sum(_residual(x_ME) / len(x_ME) for x_ME in (a_ME, b_NE))
    among = float(difference_E.var()) if examples > 1 else 0.0
    parts = [*networks, max(0.0, among - noise) / examples]
    degrees = [len(a_ME) - 1, len(b_NE) - 1, examples - 1]
    total = sum(parts)
    spent = sum(part**2 / degree for part, degree in zip(parts, degrees, strict=True) if part)
    return Difference(float(difference_E.mean()), math.sqrt(total), total**2 / spent if spent else math.inf)


def paired(d_TE: Tensor, example_TE: Tensor | None = None) -> Difference:
    """Return the mean of differences `[T, E]`: of T tasks, each with networks of its own, on the same E examples.

    `example_TE`: numbers of the examples, where each task has E of its own choice among all.

    Who draws other tasks, or other examples, gets another mean. With mean squares of tasks, examples and what neither
    explains, its variance is (MS_T + MS_E - MS_R) / (T E), an effect that seems below zero being none; degrees of
    freedom are Satterthwaite's. Of tasks with examples of their own, it is that of the sums over each task and each
    example, less what is in both (Cameron, Gelbach & Miller 2011, Robust Inference with Multiway Clustering). Where E
    is 1, tasks alone are drawn anew; of one task it is a claim about that task.
    """
    d_TE = d_TE.double()
    tasks, examples = d_TE.shape
    mean = float(d_TE.mean())
    if tasks == 1 or examples == 1:
        count = tasks * examples
        return Difference(mean, float(d_TE.std()) / math.sqrt(count) if count > 1 else math.nan, max(count - 1.0, 1.0))
    task = examples * float(d_TE.mean(dim=1).var())
    if example_TE is None:
        squares = [task, tasks * float(d_TE.mean(dim=0).var()), _residual(d_TE)]
        degrees = [tasks - 1.0, examples - 1.0, (tasks - 1.0) * (examples - 1.0)]
    else:
        number_TE = example_TE.unique(return_inverse=True)[1]
        sum_U = (d_TE - mean).new_zeros(int(number_TE.max()) + 1)
        sum_U.index_add_(0, number_TE.flatten(), (d_TE - mean).flatten())
        squares = [task, float(sum_U.square().sum()) / d_TE.numel() * len(sum_U) / (len(sum_U) - 1), float(d_TE.var())]
        degrees = [tasks - 1.0, len(sum_U) - 1.0, d_TE.numel() - 1.0]
    effects = [square > squares[2] for square in squares[:2]]
    if not any(effects):
        return Difference(mean, math.sqrt(max(squares) / d_TE.numel()), degrees[2])
    used = [*effects, all(effects)]  # of one effect alone, its own mean square is the whole variance
    parts = [square if use else 0.0 for square, use in zip(squares, used, strict=True)]
    total = parts[0] + parts[1] - parts[2]
    spent = sum(part**2 / degree for part, degree in zip(parts, degrees, strict=True))
    return Difference(mean, math.sqrt(total / d_TE.numel()), total**2 / spent)


def _residual(x_ME: Tensor) -> float:
    """Return the variance of what neither the network nor the example explains; 0 for one network."""
    count, examples = x_ME.shape
    if count < 2 or examples < 2:
        return 0.0
    left_ME = x_ME - x_ME.mean(dim=1, keepdim=True) - x_ME.mean(dim=0) + x_ME.mean()
    return float(left_ME.square().sum()) / ((count - 1) * (examples - 1))


def holm(chances: Sequence[float], level: float = 1 - LEVEL) -> list[bool]:
    """Return which of several hypotheses fall, with at most so large a chance that any of them falls wrongly.

    Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.
    """
    fallen = [False] * len(chances)
    for place, index in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        if chances[index] > level / (len(chances) - place):
            break
        fallen[index] = True
    return fallen

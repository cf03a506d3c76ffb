"""Leave-one-out: what of the variance between networks is left when each task is predicted from all others.

N networks of T tasks, S tasks left out in turn, W columns of a window. No [N, D] is held: everything is summed by
windows of columns, in coordinates without bounds; of adapters' products, where these are asked for, by rows of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.zoo import Zoo
    from pdiff_plugins.conditions.controls.known import Known

MOST = 1024
"""Tasks that are left out in turn, and from which options are chosen."""

Errors = Callable[["Tensor", "Tensor"], "Tensor"]
"""From networks `[N, W]` and tasks' averages `[T, W]` to averages minus what is predicted of them, `[S, W]`."""


def some_of(known: Known, ctx: Context) -> Tensor:
    """Return the numbers of all tasks, or of `MOST` drawn at random."""
    import torch

    return torch.randperm(len(known), generator=ctx.generator("left out"))[:MOST].sort().values


def centred(zoo: Zoo, of: str) -> Iterator[Tensor]:
    """Yield the networks' deviations from their average, `[N, W]` in float64: of `factors`, or of `products`."""
    from pdiff_plugins.adapters.products.populations import windows
    from pdiff_plugins.maths.normalise import read

    if of == "products":
        for x_NW in windows(zoo):
            yield x_NW.sub_(x_NW.mean(dim=0))
        return
    for _, block, theta_NW in read(zoo.theta_ND, zoo.layout):
        x_NW = block.to_free(theta_NW).double()
        yield x_NW.sub_(x_NW.mean(dim=0))


def gram(zoo: Zoo, known: Known, some_S: Tensor, of: str) -> Tensor:
    """Return the products of tasks' averages about the mean of these, `[S, S]`."""
    import torch

    gram_SS = torch.zeros(len(some_S), len(some_S), dtype=torch.float64)
    for x_NW in centred(zoo, of):
        average_SW = known.averages(x_NW)[some_S]
        average_SW -= average_SW.mean(dim=0)
        gram_SS.addmm_(average_SW, average_SW.T)
    return gram_SS


def left(zoo: Zoo, known: Known, some_S: Tensor, errors: Errors, of: str = "factors") -> float:
    """Return the squared error of predictions over the variance of the same networks about the average of all.

    It counts how a task's networks differ among themselves, which no condition tells.
    """
    within: Any = 0.0
    beside: Any = 0.0
    total: Any = 0.0
    count_S, in_N = known.count_T[some_S], (known.task_N[:, None] == some_S).any(dim=1)
    for x_NW in centred(zoo, of):
        average_TW = known.averages(x_NW)
        total += x_NW[in_N].square().sum()
        within += (x_NW - average_TW[known.task_N])[in_N].square().sum()
        beside += count_S.double() @ errors(x_NW, average_TW).square().sum(dim=1)
    return float((within + beside) / total) if total > 0 else 0.0


class Smoother:
    """Regression by a kernel of tasks, decomposed once: any noise, and its leave-one-out errors in closed form.

    Averages x_T of tasks about their mean are predicted as k (K + noise I)^-1 x. `centred`: K has zero row sums, as
    that of a regression with an intercept has; else the mean is that of the networks at hand.
    """

    def __init__(self, kernel_TT: Tensor, centred: bool):
        import torch

        values_T, self.vectors_TT = torch.linalg.eigh(kernel_TT)
        self.values_T, self.centred = values_T.clamp_min(0), centred

    def inverse(self, noise: float) -> Tensor:
        """Return (K + noise I)^-1, `[T, T]`."""
        return (self.vectors_TT / (self.values_T + noise)) @ self.vectors_TT.T

    def errors(self, noise: float) -> Tensor:
        """Return what takes x to its leave-one-out errors, `[T, T]`.

        With the mean known, they are (K^-1 x)_t / (K^-1)_tt (Rasmussen & Williams 2006, eq. 5.12). Leaving t out moves
        the mean by -x_t / (T - 1), which adds (K^-1 1)_t / (T - 1) to the diagonal. Of a centred K, the intercept is
        part of the hat matrix H = 1 1^T / T + I - noise K^-1, and errors are (I - H) x / (1 - H_tt).
        """
        inverse_TT, count = self.inverse(noise), len(self.values_T)
        diagonal_T = inverse_TT.diagonal().clone()
        if self.centred:
            return inverse_TT * (noise / (noise * diagonal_T - 1 / count))[:, None]
        inverse_TT.diagonal().add_(inverse_TT.sum(dim=1) / (count - 1))
        return inverse_TT / diagonal_T[:, None]

    def square(self, noise: float, gram_TT: Tensor) -> float:
        """Return the sum of squares of the leave-one-out errors, given the products of x."""
        errors_TT = self.errors(noise)
        return float((errors_TT @ gram_TT).mul_(errors_TT).sum())

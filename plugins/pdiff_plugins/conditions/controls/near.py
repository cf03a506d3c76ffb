"""Controls that take the nearest tasks' networks as they are. See `controls`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from pdiff.components import Generator
from pdiff_plugins.adapters.products.asked import Of
from pdiff_plugins.conditions.controls.control import Control, Weighted, wanted
from pdiff_plugins.conditions.controls.known import Distance, Known, distances, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class Nearest(Control):
    """Copy of the learnt task whose condition is nearest.

    Of equally near tasks it is the first, and of a task with several networks its first one.
    """

    name = "nearest"
    version = 2
    distance: Distance = Field("euclidean", description="between conditions; hamming: how many entries differ")

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.conditions.controls.left_out import left, some_of

        known = Known.of(zoo, self.name)
        some_S = some_of(known, ctx)
        copied_S = known.first_T[_first(_to_others(known, some_S, self.distance))]
        share = left(zoo, known, some_S, lambda x_NW, average_TW: average_TW[some_S] - x_NW[copied_S])
        facts = self.found(share, {}, ctx, nothing=2)  # a copy of any other network has twice the variance
        return Copies(known, zoo, self.distance, facts)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        return Copies(Known.of(zoo, self.name), zoo, self.distance, {})


class Copies(Generator):
    """For each condition the first network of the nearest task."""

    conditional = True

    def __init__(self, known: Known, zoo: Zoo, distance: Distance, facts: dict[str, Any]):
        super().__init__(facts=facts)
        self.known, self.zoo, self.distance = known, zoo, distance

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        from pdiff.mapped import windows

        asked_MC = wanted(self.zoo, count, ctx, condition_MC)
        copied_M = self.known.first_T[_first(distances(asked_MC, self.known.condition_TC, self.distance))]
        theta_MD = ctx.empty(len(asked_MC), self.zoo.layout.dim)
        for _, theta_NW, into_MW in windows(self.zoo.theta_ND, theta_MD):
            into_MW.copy_(theta_NW[copied_M])
        return theta_MD

    def through(self, theta_MD: Tensor, bench: Bench, ctx: Context) -> Tensor:
        """Return the zoo's networks that are nearest."""
        from pdiff.mapped import take
        from pdiff_plugins.maths.neighbours import neighbours

        nearest_M = neighbours(bench.coordinates(theta_MD), bench.coordinates(self.zoo.theta_ND))[1]
        return take(self.zoo.theta_ND, nearest_M.tolist(), ctx.snapshot.folder)


class Neighbours(Control):
    """Average of the networks of all learnt tasks at the smallest distance.

    Tasks count alike, however many networks they have. It is taken in coordinates in which variances are logarithms.
    """

    name = "neighbours"
    version = 2
    distance: Distance = Field("euclidean", description="between conditions; hamming: how many entries differ")
    count: int = Field(1, ge=1, description="at least so many tasks; all that are as near as the last one count too")
    of: Of = "factors"

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.conditions.controls.left_out import left, some_of

        known = Known.of(zoo, self.name)
        some_S = some_of(known, ctx)
        weight_ST = self._weights(_to_others(known, some_S, self.distance))
        share = left(zoo, known, some_S, lambda _, average_TW: average_TW[some_S] - weight_ST @ average_TW, self.of)
        return self._generator(known, zoo, self.found(share, {}, ctx))

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        return self._generator(Known.of(zoo, self.name), zoo, {})

    def _generator(self, known: Known, zoo: Zoo, facts: dict[str, Any]) -> Generator:
        def weigh(condition_MC: Tensor) -> Tensor:
            return known.shares(self._weights(distances(condition_MC, known.condition_TC, self.distance)))

        return Weighted(zoo, weigh, {}, facts, self.of)

    def _weights(self, distance_MT: Tensor) -> Tensor:
        """Return `[M, T]`, rows of sum 1."""
        near_MT = nearest(distance_MT, min(self.count, int(distance_MT.isfinite().sum(dim=1).min()))).double()
        return near_MT / near_MT.sum(dim=1, keepdim=True)


def _first(distance_MT: Tensor) -> Tensor:
    """Return the first of the nearest, `[M]`."""
    return nearest(distance_MT).int().argmax(dim=1)


def _to_others(known: Known, some_S: Tensor, how: Distance) -> Tensor:
    """Return the distances of these tasks to all, infinite to themselves, `[S, T]`."""
    import torch

    distance_ST = distances(known.condition_TC[some_S], known.condition_TC, how)
    return distance_ST.scatter_(1, some_S[:, None], torch.inf)

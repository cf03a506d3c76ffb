"""What a source's ensembles answer. M members, R ensembles, E examples, K classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pdiff.components import Generator
from pdiff.data import Chosen, Split
from pdiff.mapped import take
from pdiff_plugins.uncertainty.measures import entropy

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View

AT_ONCE = 2**25
"""Log-probabilities held in float32 at a time."""


class Answers(NamedTuple):
    """Of ensembles: means of their members' probabilities."""

    logp_REK: Tensor
    """In float32."""
    within_RE: Tensor
    """Mean entropy of their members, in float64."""

    @property
    def information_RE(self) -> Tensor:
        """Mutual information of answer and member: how much members differ, in nats."""
        return (entropy(self.logp_REK) - self.within_RE).clamp_min(0)


@dataclass(frozen=True)
class Panel:
    """The members of a source that are asked, and the ensembles that they make."""

    view: View
    source: str
    ctx: Context
    index_M: Tensor
    """Numbers of the members among those of the source, in their order."""
    place_RS: Tensor
    """Places in `index_M` of the members of each ensemble."""
    asked: int
    """Members that the method is asked for where it answers itself; else 0."""

    @property
    def count(self) -> int:
        """Ensembles, no two of which share a member."""
        return len(self.place_RS)

    @property
    def size(self) -> int:
        """Of an ensemble."""
        return self.place_RS.shape[1]

    def weights(self) -> Tensor:
        """Return what each member weighs in each ensemble, `[R, M]`."""
        return torch.zeros(self.count, len(self.index_M)).scatter_(1, self.place_RS, 1 / self.size)

    def without_one(self) -> Tensor:
        """Return the same of each ensemble without one of its members, ensemble by ensemble, `[M, M]`."""
        weight_MM = self.weights().repeat_interleave(self.size, dim=0) * self.size / max(1, self.size - 1)
        return weight_MM.scatter_(1, self.place_RS.flatten()[:, None], 0.0)

    def blocks(self, split: Split) -> Iterator[Tensor]:
        """Yield the members' log-probabilities `[M, e, K]` of the examples in their order, some at a time."""
        theta_MD = self.view.theta[self.source]
        if not self.asked and len(self.index_M) < len(theta_MD):
            theta_MD = take(theta_MD, self.index_M.tolist(), self.ctx.snapshot.folder)
        step = max(1, AT_ONCE // (len(self.index_M) * max(2, self.view.bench.classes)))
        for index_e in torch.arange(len(split)).split(step):
            yield self._asked(theta_MD, split if len(index_e) == len(split) else Chosen(split, index_e))

    def members(self, split: Split) -> Tensor:
        """Return the members' log-probabilities, `[M, E, K]`."""
        return torch.cat(list(self.blocks(split)), dim=1)

    def means(self, split: Split) -> Tensor:
        """Return the log-probabilities of the ensembles, `[R, E, K]`."""
        return torch.cat([mixed(logp_MeK, self.weights()) for logp_MeK in self.blocks(split)], dim=1)

    def answers(self, split: Split, weight_RM: Tensor | None = None) -> Answers:
        """Return what ensembles answer, by default those of the panel, and what their members' entropy is."""
        weight_RM = self.weights() if weight_RM is None else weight_RM
        parts = [
            (mixed(logp_MeK, weight_RM), weight_RM.double() @ entropy(logp_MeK)) for logp_MeK in self.blocks(split)
        ]
        logp, within = zip(*parts, strict=True)
        return Answers(torch.cat(logp, dim=1), torch.cat(within, dim=1))

    def _asked(self, theta_MD: Tensor, split: Split) -> Tensor:
        if self.asked:
            given = self.view.generators[self.source].answers(split, self.asked, self.view.bench, self.ctx)
            assert given is not None
            return given[self.index_M.to(given.device)].cpu()
        known = self.view.bench.log_probabilities(theta_MD, split, 0)
        assert known is not None
        return known[0]


def mixed(logp_MEK: Tensor, weight_RM: Tensor) -> Tensor:
    """Return log-probabilities `[R, E, K]` of weighted means of probabilities, in float32."""
    p_RX = weight_RM @ logp_MEK.float().exp().flatten(1)
    return p_RX.clamp_min(torch.finfo(torch.float32).tiny).log().view(len(weight_RM), *logp_MEK.shape[1:])


def panel(view: View, source: str, members: int, ensembles: int, ctx: Context) -> Panel | None:
    """Return the members that are asked: of `ensembles` times so many at most, in an order drawn once.

    Where a source has fewer than `members`, they are one ensemble. None where the task has no classes.
    """
    first = Chosen(view.bench.examples("test"), torch.zeros(1, dtype=torch.int64))
    theta_MD, most, asked = view.theta[source], members * ensembles, 0
    ctx = ctx.scope(f"answers of {source}")
    count = len(theta_MD)
    generator = view.generators.get(source)
    if generator is not None and type(generator).answers is not Generator.answers:
        given = generator.answers(first, most, view.bench, ctx)
        count, asked = (count, 0) if given is None else (len(given), most)
    if not asked and view.bench.log_probabilities(theta_MD[:1], first, 0) is None:
        return None
    size = min(members, count)
    order_M = torch.randperm(count, generator=ctx.generator("order"))[: size * min(ensembles, count // size)]
    index_M, place_M = order_M.sort().values, order_M.argsort().argsort()
    return Panel(view, source, ctx, index_M, place_M.view(-1, size), asked)

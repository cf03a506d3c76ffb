"""Moments and quantiles of the entries of networks. M networks, D parameters, F statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff.errors import UserError
from pdiff_plugins.reading.boosting import Boosted

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Layout
    from pdiff_plugins.reading.readers.statistics import Statistics

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
NUMBERS = 2**24
"""Parameters that are held in float64 at a time."""


def statistics(theta_MD: Tensor, layout: Layout) -> Tensor:
    """Return mean, variance and quartiles of each entry, `[M, F]` in float64; the order within an entry has no say."""
    parts = []
    for entry in layout.entries:
        sorted_Mn = theta_MD[:, entry.columns].double().sort(dim=1).values  # summed in one order, to the last bit
        at = torch.tensor(QUANTILES, dtype=torch.float64) * (sorted_Mn.shape[1] - 1)
        low, high = sorted_Mn[:, at.floor().long()], sorted_Mn[:, at.ceil().long()]
        moments = torch.stack([sorted_Mn.mean(dim=1), sorted_Mn.var(dim=1, correction=0)], dim=1)
        parts += [moments, low + (at - at.floor()) * (high - low)]
    return torch.cat(parts, dim=1)


class StatisticsReadout:
    """See `pdiff.components.Readout`."""

    def __init__(self, options: Statistics, theta_ND: Tensor, value_N: Tensor, bench: Bench, ctx: Context):
        self.options, self.ctx, self.entries = options, ctx, len(bench.objective.layout.entries)
        x_NF = self._statistics(theta_ND, bench)
        self.trees = Boosted(x_NF, value_N, options.trees, options.lr, options.leaves)

    def read(self, theta_MD: Tensor, bench: Bench) -> Tensor:
        """See `Readout.read`."""
        layout = bench.objective.layout
        if len(layout.entries) != self.entries:
            raise UserError(
                f"reader statistics: was fitted on networks of {self.entries} entries, and these have "
                f"{len(layout.entries)}; read networks of one architecture"
            )
        return self.trees.read(self._statistics(theta_MD, bench))

    def _statistics(self, theta_MD: Tensor, bench: Bench) -> Tensor:
        layout, theta_MD = bench.objective.layout, theta_MD.float().cpu()
        if self.options.balance:
            theta_MD = self._balanced(theta_MD, bench)
        return torch.cat([statistics(part_MD, layout) for part_MD in theta_MD.split(max(1, NUMBERS // layout.dim))])

    def _balanced(self, theta_MD: Tensor, bench: Bench) -> Tensor:
        from pdiff_plugins.symmetry.align import balanced, scaling_of

        objective = bench.objective
        scaling = scaling_of(bench, objective.layout, "reader statistics: balance")
        anchor_D = objective.layout.vector(objective.model.state_dict())
        return balanced(theta_MD, scaling, scaling.lengths(anchor_D, objective.layout), objective.layout, self.ctx)

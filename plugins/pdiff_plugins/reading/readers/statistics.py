"""The reader of statistics: moments and quantiles of every entry, whatever their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import WeightReader

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Readout
    from pdiff.context import Context


class Statistics(WeightReader):
    """Mean, variance and quartiles of every entry, by gradient-boosted trees.

    A network whose hidden units are in another order reads the same, to the last bit; with `balance` so does one whose
    units are rescaled, but for rounding. It reads networks of any layout that has as many entries as the zoo's, which
    are taken in their order.
    """

    name = "statistics"
    source: ClassVar[str] = "Unterthiner et al. 2020, Predicting Neural Network Accuracy from Weights, arXiv 2002.11448"
    balance: bool = Field(False, description="in canonical scales, in which rescaled networks are the same")
    trees: int = Field(400, gt=0, description="boosting rounds")
    lr: float = Field(0.05, gt=0, description="what each tree is multiplied with")
    leaves: int = Field(15, gt=1, description="leaves of a tree at most")

    def fit(self, theta_ND: Tensor, value_N: Tensor, bench: Bench, ctx: Context) -> Readout:
        """See `WeightReader.fit`."""
        from pdiff_plugins.reading.readers.moments import StatisticsReadout

        return StatisticsReadout(self, theta_ND, value_N, bench, ctx)

"""The mean of adapters, by their products."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pdiff.components import Generator, Method
from pdiff_plugins.adapters.products.asked import foresee_adapters
from pdiff_plugins.baselines.plain import One

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class MeanAdapter(Method):
    """Mean of what all adapters add, cut to their rank (one network).

    The soup of adapters averages their factors instead, which depends on the factors in which each one came. What the
    cut to the rank loses of the mean's energy is among the run's facts.
    """

    name = "mean_adapter"
    source: ClassVar[str] = "Eckart & Young 1936; as combination_type 'svd' of the library peft, add_weighted_adapter"

    def foresee(self, ahead: Ahead) -> None:
        foresee_adapters(ahead, f"{ahead.key}: {self.name}")

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        """Raises UserError where networks are no adapters."""
        import torch

        from pdiff_plugins.adapters.products.populations import mixed

        theta_1D, lost_1 = mixed(zoo, torch.zeros(1, len(zoo), dtype=torch.float64), ctx)
        return One(theta_1D, {"cut": float(lost_1)})

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        return One(tensors["theta"], {})

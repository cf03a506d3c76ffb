"""What all controls share: they need conditions, and say how much of the variance they leave. See `controls`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pdiff.components import Generator, Method
from pdiff_plugins.adapters.products.asked import foresee_of
from pdiff_plugins.conditions.controls.known import needs

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Zoo

HARDLY = 0.9
"""Of what is left where conditions tell nothing, the share from which on a control says that they hardly do."""


class Control(Method):
    """A plain way from a condition to a network."""

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        if ahead.recipe.encoder is None:
            ahead.lacks(needs(self.name))
        foresee_of(ahead, getattr(self, "of", "factors"))

    def found(self, left: float, chosen: dict[str, Any], ctx: Context, nothing: float = 1.0) -> dict[str, Any]:
        """Return the facts of a fit, and warn where conditions tell nearly nothing of the weights.

        `nothing`: the share of the variance that is left where they tell nothing at all.
        """
        if left >= HARDLY * nothing:
            ctx.warn(
                f"method {self.name}: of tasks left out in turn, {left:.2f} of the variance between networks is left "
                f"({nothing:g} where conditions tell nothing): it can hardly predict weights from these conditions"
            )
        return {"leave_one_out": left, "chosen": chosen}


class Weighted(Generator):
    """For each condition a weighted mean of the zoo's networks, in coordinates without bounds."""

    conditional = True

    def __init__(
        self, zoo: Zoo, weigh: Callable[[Tensor], Tensor], tensors: dict[str, Tensor], facts: dict[str, Any],
        of: str = "factors",
    ):  # fmt: skip
        """`of`: `factors`, or `products` of adapters, which are cut to their rank."""
        super().__init__(facts=facts)
        self.zoo, self.weigh, self.stored, self.of = zoo, weigh, tensors, of

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        from pdiff_plugins.adapters.products import populations
        from pdiff_plugins.maths.normalise import mixed

        weight_MN = self.weigh(wanted(self.zoo, count, ctx, condition_MC))
        return (
            populations.mixed(self.zoo, weight_MN, ctx)[0] if self.of == "products" else mixed(self.zoo, weight_MN, ctx)
        )

    def through(self, theta_MD: Tensor, bench: Bench, ctx: Context) -> Tensor | None:
        """Return what of networks lies in the span of the zoo's; None of a zoo too small to tell."""
        from pdiff_plugins.adapters.products import populations
        from pdiff_plugins.audit.outside import split
        from pdiff_plugins.maths.normalise import mixed

        if self.of == "products":
            return populations.mixed(self.zoo, populations.within(self.zoo, theta_MD), ctx)[0]
        parts = split(self.zoo, {"": theta_MD})
        return mixed(self.zoo, parts[""].weight_MN, ctx) if "" in parts else None

    def tensors(self) -> dict[str, Tensor]:
        return self.stored


def wanted(zoo: Zoo, count: int, ctx: Context, condition_MC: Tensor | None) -> Tensor:
    """Return the conditions asked for; where there are none, some of the zoo's own, drawn at random."""
    import torch

    if condition_MC is not None:
        return condition_MC
    assert zoo.condition_NC is not None
    return zoo.condition_NC[torch.randint(len(zoo), (count,), generator=ctx.generator("conditions"))]

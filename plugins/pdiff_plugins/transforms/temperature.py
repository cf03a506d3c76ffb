"""Temperature: how far networks lie from the average checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import Transform

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class Temperature(Transform):
    """Move the method's networks along lines through the average checkpoint.

    Baselines stay as they are.
    """

    name = "temperature"
    baselines: ClassVar[bool] = False
    factor: float = Field(
        ge=0, examples=[0.9], description="on the distance from the average checkpoint; 0 is the soup, 1 changes none"
    )

    def samples(self, theta_MD: Tensor, zoo: Zoo, bench: Bench, ctx: Context) -> Tensor:
        return tempered(theta_MD, zoo, self.factor, ctx)


def tempered(theta_MD: Tensor, zoo: Zoo, factor: float, ctx: Context) -> Tensor:
    """Return networks whose distances from the average checkpoint are multiplied (variances: their logarithms)."""
    from pdiff_plugins.maths.normalise import read

    moved_MD = ctx.empty(*theta_MD.shape)
    for columns, block, theta_NW in read(zoo.theta_ND, zoo.layout, theta_MD, moved_MD):
        x_MW = block.to_free(theta_MD[:, columns])
        mean_W = block.to_free(theta_NW).double().mean(dim=0).float()
        moved_MD[:, columns] = block.from_free(mean_W + factor * (x_MW - mean_W))
    return moved_MD

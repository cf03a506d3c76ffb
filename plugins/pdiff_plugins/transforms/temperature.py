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
        return tempered(theta_MD, zoo, self.factor)


def tempered(theta_MD: Tensor, zoo: Zoo, factor: float) -> Tensor:
    """Return networks whose distances from the average checkpoint are multiplied (variances: their logarithms)."""
    import torch

    from pdiff.zoo import Entry, Layout

    pieces = []
    for entry in zoo.layout.entries:
        alone = Layout((Entry(entry.key, entry.shape, 0, entry.positive),))
        x_MD = alone.to_free(theta_MD[:, entry.columns])
        mean_D = alone.to_free(zoo.theta_ND[:, entry.columns]).double().mean(dim=0).float()
        pieces.append(alone.from_free(mean_D + factor * (x_MD - mean_D)))
    return torch.cat(pieces, dim=1)

"""What written adapters differ in from a zoo's, by their products: direction and spectrum.

G adapters of a step, D selected parameters, r rank, K = min(O, r, I) singular values of a layer of O x I.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff_plugins.adapters.factors import pairs
from pdiff_plugins.adapters.products.algebra import Factors, singular
from pdiff_plugins.adapters.products.coordinates import rest

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.zoo import Zoo
    from pdiff_plugins.maths.normalise import Normaliser

SPECTRUM = 2.0
"""Weight of the spectrum beside that of the direction, and the share of energy that it is of: LoRAGen's."""
ENERGY = 0.85
SOFT = 1e-6
"""Of a target's energy: what is added to that of a written product, whose direction is unknown where it is zero."""


class Products:
    """Direction and spectrum of products, layer by layer, and squared errors of what is no factor.

    The direction's loss is 1 - cosine of written and target product. That of the spectrum is the squared difference of
    the leading singular values, as many as hold 85 % of the target's energy, over the sum of the target's squares (the
    unit is ours: products have any length). Both are the same for all factors of a product.
    """

    def __init__(self, zoo: Zoo, normaliser: Normaliser, ctx: Context):
        """Raises UserError where networks are no adapters."""
        self.zoo, self.normaliser, self.scale_D = zoo, normaliser, normaliser.scale.to(ctx.device)
        self.pairs, self.rest = pairs(zoo.layout, "method.loss = 'products'"), rest(zoo.layout)
        self.taught_D = torch.ones(zoo.layout.dim, dtype=torch.bool)

    def draw(self, rows_G: Tensor, generator: torch.Generator) -> Tensor:
        return self.normaliser.free(self.zoo.theta_ND[rows_G])

    def loss(self, x_GD: Tensor, drawn: Tensor) -> Tensor:
        try:
            apart = [apart_of(*(Factors(*pair.split(each_GD)) for each_GD in (x_GD, drawn))) for pair in self.pairs]
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # what is written has run away, as the training then says
            return x_GD.sum() * torch.nan
        loss = torch.stack(apart).mean()
        if not self.rest:
            return loss
        squares = [
            ((x_GD - drawn)[:, entry.columns] / self.scale_D[entry.columns]).square().mean() for entry in self.rest
        ]
        return loss + torch.stack(squares).mean()


def apart_of(written: Factors, target: Factors) -> Tensor:
    """Return the mean loss of one layer's products; where a target is zero there is nothing to learn."""
    energy_G = inner(target, target)
    known_G = energy_G > 0
    one_G = energy_G.where(known_G, 1.0)
    length_G = (inner(written, written) + SOFT * one_G).sqrt() * one_G.sqrt()
    direction_G = 1 - inner(written, target) / length_G
    with torch.no_grad():
        values_GK = singular(target)[1]
        square_GK = values_GK.square()
        leading_GK = (square_GK.cumsum(dim=1) - square_GK) < ENERGY * square_GK.sum(dim=1, keepdim=True)
    error_GK = (spectrum(written) - values_GK).square() * leading_GK
    spectrum_G = error_GK.sum(dim=1) / (square_GK * leading_GK).sum(dim=1).where(known_G, 1.0)
    return ((direction_G + SPECTRUM * spectrum_G) * known_G).mean()


def inner(left: Factors, right: Factors) -> Tensor:
    """Return the inner product of each product with the other's, `[G]`."""
    writes_GRR, reads_GRR = left.b_NOR.transpose(1, 2) @ right.b_NOR, left.a_NRI @ right.a_NRI.transpose(1, 2)
    return (writes_GRR * reads_GRR).sum(dim=(1, 2))


def spectrum(of: Factors) -> Tensor:
    """Return singular values `[G, K]`, with their gradient: u^T B A v, u and v held, has the value and the gradient."""
    with torch.no_grad():
        u_GOK, _, v_GKI = singular(of)
    return ((of.b_NOR.transpose(1, 2) @ u_GOK) * (of.a_NRI @ v_GKI.transpose(1, 2))).sum(dim=1)

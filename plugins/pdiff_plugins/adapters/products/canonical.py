"""The step that gives adapters of one function one form."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pdiff.components import Transform

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Layout, Zoo


class Canonical(Transform):
    """Write each adapter in the one form that all factors of its product share.

    B G and G^-1 A add the same to a layer for every invertible G. The form is B = U sqrt(S), A = sqrt(S) V^T of the
    product's singular value decomposition, the largest entry of each column of U positive; where singular values are
    nearly equal, small changes of a product still turn them among each other. It changes no function. Held-out
    checkpoints are written alike; the base network is not, whose A is random and whose B is zero: its form would be
    zeros, from which nothing learns.
    """

    name = "canonical"
    exact: ClassVar[bool] = True
    source: ClassVar[str] = (
        "Eckart & Young 1936; Putterman et al. 2024, Learning on LoRAs, arXiv 2410.04207 (the symmetry of adapters)"
    )

    def foresee(self, ahead: Ahead) -> None:
        from pdiff_plugins.adapters.products.asked import foresee_adapters

        foresee_adapters(ahead, f"{ahead.key}: canonical")

    def zoo(self, zoo: Zoo, bench: Bench, ctx: Context) -> Zoo:
        """See `Transform.zoo`. Raises UserError where networks are no adapters."""
        from dataclasses import replace

        theta_ND = canonised(zoo.theta_ND, zoo.layout, ctx)
        held = zoo.holdout
        held = held and replace(held, theta_ND=canonised(held.theta_ND, zoo.layout, ctx))
        return replace(zoo, theta_ND=theta_ND, holdout=held)


def canonised(theta_MD: Tensor, layout: Layout, ctx: Context) -> Tensor:
    """Return adapters of the same products in their canonical form; what is no factor stays."""
    from pdiff.mapped import Touched, windows
    from pdiff_plugins.adapters.factors import pairs
    from pdiff_plugins.adapters.products.algebra import canonical
    from pdiff_plugins.adapters.products.populations import factors_of

    found = pairs(layout, "zoo: canonical")
    into_MD = ctx.empty(*theta_MD.shape)
    for _, theta_MW, into_MW in windows(theta_MD, into_MD):
        into_MW.copy_(theta_MW)
    touched = Touched(theta_MD, into_MD)
    for pair in found:
        pair.write(into_MD, *canonical(factors_of(pair, theta_MD), pair.groups))
        touched(theta_MD[:, pair.a.start : pair.b.stop], into_MD[:, pair.a.start : pair.b.stop])
    touched.end()
    return into_MD

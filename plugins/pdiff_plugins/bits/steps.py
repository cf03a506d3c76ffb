"""Steps on samples: to few bits, or most weights cut, after networks were learnt in floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pdiff.components import Transform
from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Layout, Zoo


class Rounded(Transform):
    """Round the weights of matrices to a grid of few bits, each row with the step by which it loses least.

    Weights that are zero stay so: they are cut. Biases and norms stay as they are.
    """

    name = "rounded"
    source = "Max 1960, Quantizing for minimum distortion, IRE Transactions on Information Theory 6"
    bits: int = Field(ge=2, le=8, examples=[2], description="of each weight; a step for each row comes on top")

    def samples(self, theta_MD: Tensor, zoo: Zoo, bench: Bench, ctx: Context) -> Tensor:
        from pdiff.mapped import Touched
        from pdiff_plugins.bits.grid import rounded

        _require_matrices(zoo.layout, self.name)
        out_MD = ctx.empty(*theta_MD.shape)
        touched = Touched(theta_MD, out_MD)
        for theta_D, into_D in zip(theta_MD, out_MD, strict=True):
            into_D.copy_(rounded(theta_D[None], zoo.layout, self.bits)[0].where(theta_D != 0, theta_D))
            touched(theta_D, into_D)
        touched.end()
        return out_MD


class Cut(Transform):
    """Set the smallest weights of each network's matrices to zero, whichever matrix they are in.

    Biases and norms stay as they are.
    """

    name = "cut"
    source = "Han et al. 2015, Learning both Weights and Connections, arXiv 1506.02626"
    keep: float = Field(gt=0, lt=1, examples=[0.3], description="share of the weights that remain")

    def samples(self, theta_MD: Tensor, zoo: Zoo, bench: Bench, ctx: Context) -> Tensor:
        from pdiff.mapped import Touched
        from pdiff_plugins.bits.cutting import cut, weights

        _require_matrices(zoo.layout, self.name)
        weight_W, out_MD = weights(zoo.layout), ctx.empty(*theta_MD.shape)
        touched = Touched(theta_MD, out_MD)
        for theta_D, into_D in zip(theta_MD, out_MD, strict=True):
            into_D.copy_(cut(theta_D, weight_W, self.keep))
            touched(theta_D, into_D)
        touched.end()
        return out_MD


def _require_matrices(layout: Layout, name: str) -> None:
    from pdiff_plugins.bits.grid import matrices

    if not matrices(layout):
        raise UserError(
            f"sample.step: {name} is of weights of matrices, and the selected entries hold none (biases and norms stay "
            "floats); select whole layers, or leave the step out"
        )

"""Steps on samples: to few bits, or most weights cut, after networks were learnt in floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from pdiff.components import Transform
from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Layout, Zoo

NUMBERS = 2**22
"""Parameters that are changed at a time."""


class Rounded(Transform):
    """Round the weights of matrices to a grid of few bits.

    Each row has the step by which it loses least. Weights that are zero stay so: they are cut. Biases and norms
    stay as they are.
    """

    name = "rounded"
    source = "Max 1960, Quantizing for minimum distortion, IRE Transactions on Information Theory 6"
    bits: int = Field(ge=2, le=8, examples=[2], description="of each weight; a step for each row comes on top")

    def samples(self, theta_MD: Tensor, zoo: Zoo, bench: Bench, ctx: Context) -> Tensor:
        from pdiff_plugins.bits.grid import rounded

        return _changed(theta_MD, zoo.layout, self.name, lambda part_MD: rounded(part_MD, zoo.layout, self.bits), ctx)


class Cut(Transform):
    """Cut the smallest weights of each network: they become zero.

    They are those of its matrices, of all together or of each. Biases and norms stay as they are.
    """

    name = "cut"
    source = "Han et al. 2015, Learning both Weights and Connections, arXiv 1506.02626"
    keep: float = Field(gt=0, lt=1, examples=[0.3], description="share of the weights that remain")
    each: bool = Field(False, description="that share of every matrix; false: of all together, which costs less")

    def samples(self, theta_MD: Tensor, zoo: Zoo, bench: Bench, ctx: Context) -> Tensor:
        from pdiff_plugins.bits.masks import cut, largest

        def smallest_cut(part_MD: Tensor) -> Tensor:
            return cut(part_MD, largest(part_MD.abs(), zoo.layout, self.keep, self.each))

        return _changed(theta_MD, zoo.layout, self.name, smallest_cut, ctx)


def _changed(theta_MD: Tensor, layout: Layout, name: str, change: Callable[[Tensor], Tensor], ctx: Context) -> Tensor:
    """Return networks after a change, some at a time. Raises UserError where nothing of them is a matrix."""
    from pdiff.mapped import Touched
    from pdiff_plugins.bits.grid import matrices

    if not matrices(layout):
        raise UserError(
            f"sample.step: {name} is of weights of matrices, and the selected entries hold none (biases and norms stay "
            "floats); select whole layers, or leave the step out"
        )
    out_MD, each = ctx.empty(*theta_MD.shape), max(1, NUMBERS // layout.dim)
    touched = Touched(theta_MD, out_MD)
    for part_MD, into_MD in zip(theta_MD.split(each), out_MD.split(each), strict=True):
        into_MD.copy_(change(part_MD))
        touched(part_MD, into_MD)
    touched.end()
    return out_MD

"""Copies of fields whose shapes are moved and stretched: exact, in the first layer, with nothing fitted.

A field f read at A x + b is the field with first layer (W A, W b + bias). N networks, C coordinates, W width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from pdiff.components import Transform
from pdiff.errors import UserError
from pdiff.mapped import windows

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Layout, Zoo

SHIFT = 1 / 3
"""Of `reach`: how far shapes are shifted, in units of the coordinates."""
WEIGHT, BIAS = "hidden.0.weight", "hidden.0.bias"


class Moved(Transform):
    """Add copies of fields with their shapes moved and stretched at random.

    They are exact: the first layer alone changes, and nothing is fitted.
    """

    name = "moved"
    copies: int = Field(gt=0, examples=[4], description="further copies of each checkpoint")
    reach: float = Field(0.06, gt=0, lt=1, description="coordinates are multiplied by a matrix this near to one")

    def zoo(self, zoo: Zoo, bench: Bench, ctx: Context) -> Zoo:
        """See `Transform.zoo`. Raises UserError where networks are no fields, or share their first layer."""
        _check(zoo, bench)
        generator, count = ctx.generator("moved"), len(zoo)
        rows = zoo.rows + [row | {"copy": copy} for copy in range(1, self.copies + 1) for row in zoo.rows]
        theta_ND = ctx.empty(len(rows), zoo.layout.dim)
        for start in range(0, len(rows), count):
            for _, theta_NW, into_NW in windows(zoo.theta_ND, theta_ND[start : start + count]):
                into_NW.copy_(theta_NW)
        for copy_ND in theta_ND[count:].split(count):
            move(copy_ND, zoo.layout, self.reach, generator)
        return replace(zoo, theta_ND=theta_ND, rows=rows)


def move(theta_ND: Tensor, layout: Layout, reach: float, generator: torch.Generator) -> None:
    """Make networks what they are at A x + b: A the unit matrix and up to `reach` more or less in every entry."""
    import torch

    entries = layout.tensors(theta_ND)
    weight_NWC, bias_NW = entries[WEIGHT], entries[BIAS]
    count, _, dim = weight_NWC.shape
    matrix_NCC = torch.eye(dim) + reach * _between(generator, count, dim, dim)
    shift_NC = SHIFT * reach * _between(generator, count, dim)
    bias_NW += (weight_NWC @ shift_NC[:, :, None])[..., 0]
    weight_NWC.copy_(weight_NWC @ matrix_NCC)


def _between(generator: torch.Generator, *shape: int) -> Tensor:
    """Return numbers from -1 to 1."""
    import torch

    return 2 * torch.rand(*shape, generator=generator) - 1


def _check(zoo: Zoo, bench: Bench) -> None:
    if getattr(bench.objective.model, "frequencies", None) != 0:
        raise UserError("moved: moves fields that read coordinates as they are, such as siren's; leave it out here")
    if not {WEIGHT, BIAS} <= set(zoo.layout.keys):
        raise UserError("moved: moves the first layer, which is not selected; select it, or leave moved out")

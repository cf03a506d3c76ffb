"""Copies of fields whose shapes are moved and stretched: exact, in the first layer, with nothing fitted.

A field f read at A x + b is the field with first layer (W A, W b + bias). N networks, C coordinates, W width.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.zoo import Zoo

SHIFT = 1 / 3
"""Of `reach`: how far shapes are shifted, in units of the coordinates."""
WEIGHT, BIAS = "hidden.0.weight", "hidden.0.bias"


def with_moved(zoo: Zoo, copies: int, reach: float, ctx: Context) -> Zoo:
    """Return the checkpoints and so many moved copies of each, with their rows.

    Raises UserError where networks are no fields, or read waves of their coordinates, or share their first layer.
    """
    if not copies:
        return zoo
    _check(zoo, ctx)
    generator = ctx.generator("moved")
    moved = [moved_once(zoo, reach, generator) for _ in range(copies)]
    return replace(zoo, theta_ND=torch.cat([zoo.theta_ND, *moved]), rows=zoo.rows * (copies + 1))


def moved_once(zoo: Zoo, reach: float, generator: torch.Generator) -> Tensor:
    """Return the networks as read at A x + b: A the unit matrix and up to `reach` more or less in every entry."""
    theta_ND = zoo.theta_ND.clone()
    entries = zoo.layout.tensors(theta_ND)
    weight_NWC, bias_NW = entries[WEIGHT], entries[BIAS]
    count, _, dim = weight_NWC.shape
    matrix_NCC = torch.eye(dim) + reach * _between(generator, count, dim, dim)
    shift_NC = SHIFT * reach * _between(generator, count, dim)
    bias_NW += (weight_NWC @ shift_NC[:, :, None])[..., 0]
    weight_NWC.copy_(weight_NWC @ matrix_NCC)
    return theta_ND


def _between(generator: torch.Generator, *shape: int) -> Tensor:
    """Return numbers from -1 to 1."""
    return 2 * torch.rand(*shape, generator=generator) - 1


def _check(zoo: Zoo, ctx: Context) -> None:
    model = None if ctx.objective is None else ctx.objective.model
    if getattr(model, "frequencies", None) != 0:
        raise UserError(
            "method.moved: moves fields that read coordinates as they are, such as siren's; leave it out here"
        )
    if not {WEIGHT, BIAS} <= set(zoo.layout.keys):
        raise UserError("method.moved: moves the first layer, which is not selected; select it, or leave moved out")

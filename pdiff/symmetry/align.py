"""Alignment: every network's hidden units in the order that is nearest to a reference's (git re-basin)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.symmetry.matching import match
from pdiff.symmetry.permutations import Symmetry
from pdiff.zoo import Layout, Zoo


def symmetry_within(model: nn.Module, inputs: Tensor, layout: Layout, key: str) -> Symmetry:
    """Return the permutations that touch nothing but selected entries. Raises UserError where there are none."""
    symmetry = Symmetry.of(model, inputs).within(layout.keys)
    if not symmetry.sizes:
        raise UserError(
            f"{key}: no hidden units can be reordered within the selected entries alone; select whole layers and "
            "those that read them (selector 'entire')"
        )
    return symmetry


def aligned(
    theta_MD: Tensor, reference_D: Tensor, symmetry: Symmetry, layout: Layout, generator: torch.Generator
) -> Tensor:
    """Return theta_MD, each network's units in the order that is nearest to the reference's."""
    reference, rows = layout.tensors(reference_D), []
    for theta_D in theta_MD:
        state = layout.tensors(theta_D)
        rows.append(layout.vector(symmetry.permuted(state, match(symmetry, reference, state, generator))))
    return torch.stack(rows) if rows else theta_MD


def align(zoo: Zoo, holdout_HD: Tensor, symmetry: Symmetry, ctx: Context) -> Tensor:
    """Align a zoo to its first checkpoint in place, its anchor too; return the held-out ones, aligned to the same."""
    reference, generator = zoo.theta_ND[0], ctx.generator("align")
    own = {key: zoo.anchor[key] for key in zoo.layout.keys}
    zoo.anchor |= symmetry.permuted(own, match(symmetry, zoo.layout.tensors(reference), own, generator))
    rows = [reference[None]]
    with ctx.progress.step("align", len(zoo) - 1 + len(holdout_HD)) as bar:
        for theta_D in chain(zoo.theta_ND[1:], holdout_HD):
            rows.append(aligned(theta_D[None], reference, symmetry, zoo.layout, generator))
            bar.advance()
    both = torch.cat(rows)
    zoo.theta_ND = both[: len(zoo)]
    return both[len(zoo) :]


def aligner(zoo: Zoo, model: nn.Module, inputs: Tensor, ctx: Context) -> Callable[[Tensor], Tensor] | None:
    """Return what aligns theta_MD to the zoo's first checkpoint; None where no units can be reordered."""
    try:
        symmetry = symmetry_within(model, inputs, zoo.layout, "align")
    except UserError:
        return None
    reference = zoo.theta_ND[0]

    def each(theta_MD: Tensor) -> Tensor:
        """Align every network by itself, so that equal ones stay equal."""
        rows = [aligned(theta_D[None], reference, symmetry, zoo.layout, ctx.generator("align")) for theta_D in theta_MD]
        return torch.cat(rows)

    return each

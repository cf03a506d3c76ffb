"""Surgery: a network of one width made into one of another, and a narrow network taken out of the widest.

Neither reads an example. M networks, D parameters, P groups of units, U units of a group.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pdiff_plugins.widths.units import LivingUnits


def lengths(theta_D: Tensor, units: LivingUnits, group: int) -> Tensor:
    """Return the norm of what reads each unit of a group, `[U]`."""
    square_U = torch.zeros(units.sizes[group], dtype=torch.float64)
    for entry, axis, read in units.places(group):
        if read:
            value = theta_D[entry.columns].double().reshape(units.symmetry.shape(entry.key)).movedim(axis, 0)
            square_U += value.reshape(len(value), -1).square().sum(dim=1)
    return square_U.sqrt()


def cut(theta_MD: Tensor, before: int, after: int, units: LivingUnits) -> Tensor:
    """Return networks of the width `before` cut to `after`: of each group those units go that are read least.

    Those that stay keep their order, and are the first ones.
    """
    mask_D, rows = units.mask(after), []
    for theta_D in theta_MD:
        orders = []
        for group, (had, left) in enumerate(zip(units.living(before), units.living(after), strict=True)):
            kept = lengths(theta_D, units, group)[:had].argsort(descending=True, stable=True)[:left].sort().values
            stays = torch.zeros(units.sizes[group], dtype=torch.bool)
            stays[kept] = True
            orders.append(torch.cat([kept, (~stays).nonzero()[:, 0]]))
        state = units.symmetry.permuted(units.layout.tensors(theta_D), orders)
        rows.append(units.layout.vector(state) * mask_D)
    return torch.stack(rows)


def split(theta_MD: Tensor, before: int, after: int, units: LivingUnits, generator: torch.Generator) -> Tensor:
    """Return networks of the width `before` widened to `after`: the units that are read most become two.

    Both read as one did, and are read by random shares of its weights that sum to 1: the function stays what it was
    (Chen et al. 2016, Net2Net, arXiv 1511.05641).
    """
    rows = []
    for theta_D in theta_MD:
        new_D = theta_D.clone()
        for group, (had, wanted) in enumerate(zip(units.living(before), units.living(after), strict=True)):
            order = lengths(new_D, units, group)[:had].argsort(descending=True, stable=True)
            parents = torch.cat([torch.arange(had), order.repeat(wanted // had + 1)[: wanted - had]])
            share = 0.5 + torch.rand(wanted, generator=generator)
            share = share / torch.zeros(had).index_add_(0, parents, share)[parents]
            _spread(new_D, units, group, parents, share)
        rows.append(new_D)
    return torch.stack(rows)


def _spread(theta_D: Tensor, units: LivingUnits, group: int, parents: Tensor, share: Tensor) -> None:
    """Let the first units of a group be those that `parents` name, in place."""
    for entry, axis, read in units.places(group):
        value = theta_D[entry.columns].view(units.symmetry.shape(entry.key)).movedim(axis, 0)
        taken = value[parents]
        value[: len(parents)] = taken * share.reshape(-1, *[1] * (taken.ndim - 1)) if read else taken


def narrow(theta_D: Tensor, width: int, units: LivingUnits) -> dict[str, Tensor]:
    """Return the entries of the narrow network: those of theta_D without its dead units.

    They are the state dict of the architecture whose layers have `units.living(width)` units.
    """
    living, state = units.living(width), dict[str, Tensor]()
    for key, value in units.layout.tensors(theta_D).items():
        value = value.reshape(units.symmetry.shape(key))
        shape, axis = list[int](), 0
        for factors in units.symmetry.axes[key]:
            side = 1
            for size, of in factors:
                left = size if of is None else living[of]
                value, side, axis = value.narrow(axis, 0, left), side * left, axis + 1
            shape.append(side)
        state[key] = value.reshape(shape).clone()
    return state


def width_of(theta_D: Tensor, units: LivingUnits) -> int:
    """Return the least width whose units hold all that is not 0 in a network."""
    return next(width for width in range(1, units.widest + 1) if not theta_D[~units.mask(width)].any())

"""Checks: that reordered networks compute the same function, and why there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pdiff.checkpoints.names import listed
from pdiff.data import Inputs
from pdiff.networks import handed
from pdiff.zoo import Layout
from pdiff_plugins.symmetry.graph import tensors
from pdiff_plugins.symmetry.permutations import Symmetry

TRIES = 3
"""Orders that are tried: where a network decides, rounding can decide otherwise."""
INEXACT = (
    "reordering this network's hidden units, as its graph has them, changes what it computes; please report that, with "
    "the network"
)


@torch.no_grad()
def is_exact(model: nn.Module, inputs: Inputs, symmetry: Symmetry) -> bool:
    """Return whether random orders of the units leave the outputs on example inputs as they are, but for rounding.

    True where that cannot be told: where outputs are no numbers, or random.
    """
    if not symmetry.sizes:
        return True
    generator = torch.Generator().manual_seed(0)
    own = {key: value.clone() for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    state = {key: _moved(value, generator) for key, value in own.items()}
    try:
        before = _outputs(model, state, inputs)
        kinds = [value.dtype for value in (*state.values(), *before) if value.is_floating_point()]
        rounding = 3 * max((torch.finfo(kind).eps for kind in kinds), default=0.0) ** 0.5
        if not _close(_outputs(model, state, inputs), before, rounding):
            return True
        selected = {key: state[key] for key in symmetry.axes}
        for _ in range(TRIES):
            orders = symmetry.random(generator)
            if _close(_outputs(model, state | symmetry.permuted(selected, orders), inputs), before, rounding):
                return True
        return False
    finally:
        model.load_state_dict(own, strict=False)


def _moved(value: Tensor, generator: torch.Generator) -> Tensor:
    """Return an entry off the values of a new network, whose zeros and ones would hide what is wrong."""
    if not value.is_floating_point():
        return value
    noise, offset = torch.rand(2, *value.shape, generator=generator).to(value)
    return value * (1 + 0.1 * noise) + 0.01 * offset


def _outputs(model: nn.Module, state: Mapping[str, Tensor], inputs: Inputs) -> list[Tensor]:
    positional, named = handed(model, inputs)
    model.load_state_dict(state, strict=False)
    return [tensor.clone() for tensor in tensors(model.eval()(*positional, **named))]


def _close(ours: Sequence[Tensor], theirs: Sequence[Tensor], rounding: float) -> bool:
    for a, b in zip(ours, theirs, strict=True):
        told = b.is_floating_point() and b.numel() and b.isfinite().all()
        if told and not (a - b).abs().max() <= rounding * b.abs().max():
            return False
    return True


def why_none(symmetry: Symmetry, layout: Layout, model: nn.Module) -> str:
    """Return why no units can be reordered within a selection."""
    if symmetry.sizes:
        state, held = model.state_dict(), symmetry.beyond(layout.keys)
        floats = [key for key in held if state[key].is_floating_point()]
        line = f"no hidden units can be reordered within the selected entries alone, as they move with {listed(held)}"
        if floats:
            return f"{line}; select whole layers and those that read them (selector 'entire')"
        return f"{line}, of which all networks have the same, as it holds no real numbers"
    if unknown := [name for name, held in symmetry.unknown.items() if not held.isdisjoint(layout.keys)]:
        return f"no hidden units can be reordered: {unknown_line(unknown)}"
    return "no hidden units can be reordered: the network tells all of its units apart"


def unknown_line(names: Sequence[str]) -> str:
    """Return which operations are not understood."""
    return f"there is no rule for {listed(names)}, which leaves the units that it reads in their order"

"""Units: the hidden units of an architecture, and which of them live in a network of a smaller width.

A narrower network is the widest one with dead units: what they read with, their biases and what reads them are 0. It
computes the same function, and its gradient at the dead units is exactly 0, so that it trains as the narrow one does.
Of every permutation group the first units live. D selected parameters, P groups, U units of a group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pdiff.data import Inputs
from pdiff.errors import UserError
from pdiff.networks import handed
from pdiff_plugins.symmetry.align import example, symmetry_within
from pdiff_plugins.symmetry.graph import tensors

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.zoo import Entry, Layout
    from pdiff_plugins.symmetry.permutations import Symmetry


@dataclass(frozen=True)
class LivingUnits:
    """The hidden units of a run's networks, in the groups whose order changes no function."""

    layout: Layout
    symmetry: Symmetry

    @classmethod
    def of(cls, bench: Bench, layout: Layout, key: str) -> LivingUnits:
        """Find them. Raises UserError, in a line that begins with `key`, where there are none."""
        return cls(layout, symmetry_within(bench.build(0), example(bench), layout, key))

    @property
    def sizes(self) -> list[int]:
        """How many units each group has."""
        return self.symmetry.sizes

    @property
    def widest(self) -> int:
        """Units of the widest layer, which a width counts."""
        return max(self.sizes)

    def living(self, width: int) -> list[int]:
        """Return how many units of each group a network of a width has: in proportion, at least one.

        Raises UserError for a width that the architecture has no room for.
        """
        if not 1 <= width <= self.widest:
            raise UserError(
                f"width = {width}: the widest layer has {self.widest} units; ask for 1 to {self.widest}, or make the "
                "architecture wider"
            )
        return [max(1, math.floor(size * width / self.widest + 0.5)) for size in self.sizes]

    def mask(self, width: int) -> Tensor:
        """Return which parameters a network of a width has, bool `[D]`."""
        return self.mask_of([torch.arange(size) < n for size, n in zip(self.sizes, self.living(width), strict=True)])

    def mask_of(self, alive: Sequence[Tensor]) -> Tensor:
        """Return which parameters are of no dead unit, bool `[D]`, given those that live, `[U]` of each group."""
        return torch.cat([self._mask(entry, alive).reshape(-1) for entry in self.layout.entries])

    def _mask(self, entry: Entry, alive: Sequence[Tensor]) -> Tensor:
        factors = self.symmetry.factors(entry.key)
        mask = torch.ones(*self.symmetry.shape(entry.key), *(2,) * entry.is_complex, dtype=torch.bool)
        for axis, (_, of) in enumerate(factors):
            if of is not None:
                mask &= alive[of].reshape(-1, *[1] * (mask.ndim - axis - 1))
        return mask

    def places(self, group: int) -> Iterator[tuple[Entry, int, bool]]:
        """Yield where units of a group stand: an entry, the axis among its factors, and whether they are read there.

        What a layer gives lies along an entry's first axis, what it reads along the others.
        """
        for entry in self.layout.entries:
            axis = 0
            for number, factors in enumerate(self.symmetry.axes[entry.key]):
                for _, of in factors:
                    if of == group:
                        yield entry, axis, number > 0
                    axis += 1

    def starting(self, width: int) -> Tensor:
        """Return `[D]` by which a new network of the widest is multiplied to be a new one of a width; 0 of the dead.

        Layers start with a deviation that falls with the root of what they read, biases too.
        """
        living, factor = self.living(width), dict[str, float]()
        for entry in self.layout.entries:
            read = [of for axis in self.symmetry.axes[entry.key][1:] for _, of in axis if of is not None]
            share = math.prod(self.sizes[of] / living[of] for of in read)
            module = entry.key.rpartition(".")[0]
            factor[module] = max(factor.get(module, 1.0), math.sqrt(share))
        values = [factor[entry.key.rpartition(".")[0]] for entry in self.layout.entries]
        return self.layout.per_entry(values) * self.mask(width)

    def require_dead(self, model: nn.Module, inputs: Inputs, key: str) -> None:
        """Raise UserError where units whose weights are 0 would not be dead: in this network they cannot be cut."""
        if self.symmetry.nested:
            raise UserError(
                f"{key}: hidden units of this network lie in blocks, as heads of attention do, and a narrower network "
                "divides them otherwise; use an architecture of plain layers, such as mlp or strided_cnn"
            )
        variance = next((e.key for e in self.layout.entries if e.positive and self._moves(e)), None)
        if variance:
            raise UserError(
                f"{key}: {variance!r} is a running variance, which is not 0 where a unit is dead; use an architecture "
                "without BatchNorm"
            )
        if not self._is_dead(model, inputs):
            raise UserError(
                f"{key}: a hidden unit whose weights are 0 still counts in this network, as it does for LayerNorm, or "
                "an activation that is not 0 at 0; use an architecture such as mlp or strided_cnn"
            )

    def _moves(self, entry: Entry) -> bool:
        return any(of is not None for _, of in self.symmetry.factors(entry.key))

    def _is_dead(self, model: nn.Module, inputs: Inputs) -> bool:
        """Return whether the outputs' gradient at dead units' parameters is exactly 0, the later half being dead."""
        generator = torch.Generator().manual_seed(0)
        mask_D = self.mask((self.widest + 1) // 2)
        before = {key: value.detach().clone() for key, value in model.state_dict().items()}
        noise_D = torch.randn(self.layout.dim, generator=generator)
        theta_D = (self.layout.vector(before) + 0.1 * noise_D) * mask_D
        theta_D = torch.where(self.layout.per_entry([float(e.positive) for e in self.layout.entries]) > 0, 1.0, theta_D)
        try:
            model.load_state_dict(self.layout.tensors(theta_D), strict=False)
            positional, named = handed(model, inputs)
            outputs = [y for y in tensors(model.eval()(*positional, **named)) if y.is_floating_point()]
            total = sum((y * torch.randn(y.shape, generator=generator)).sum() for y in outputs)
            parameters = {key: p for key, p in model.named_parameters() if key in self.layout.keys}
            assert isinstance(total, Tensor)
            gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        finally:
            model.load_state_dict(before)
        known = {key: g for key, g in zip(parameters, gradients, strict=True) if g is not None}
        parts = [known.get(e.key, torch.zeros(e.shape)).reshape(-1) for e in self.layout.entries if not e.is_complex]
        dead = [~mask_D[e.columns] for e in self.layout.entries if not e.is_complex]
        return all(not bool(part[off].any()) for part, off in zip(parts, dead, strict=True))

"""Units: networks as tensors whose axes are groups of hidden units, and what each unit holds.

M networks, n units of a group, C numbers of an entry at its fixed places, K places that other units permute, F numbers
that a unit holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff.bench import Bench
from pdiff.errors import UserError
from pdiff_plugins.symmetry.align import NUMBERS, example, symmetry_within
from pdiff_plugins.symmetry.graph import Graph
from pdiff_plugins.symmetry.scaling import Scaling

POINTS = 5
"""Quantiles that are taken, the least and the greatest among them."""
LEAST = 1e-12
"""Of the mean square of weights whose logarithm is taken."""
STATISTICS = "read these networks by 'statistics'"


@dataclass(frozen=True)
class Held:
    """An entry: the groups of units that its axes follow, in order; all its other places are channels."""

    key: str
    groups: tuple[int, ...]
    channels: int


class Units:
    """A run's networks as entries over groups of hidden units, which are those that their symmetry has.

    `held` is the same for networks that differ in the sizes of groups alone.
    """

    def __init__(self, bench: Bench, key: str, balance: bool, otherwise: str = STATISTICS):
        """With `balance` in canonical scales. Raises UserError where there is no graph, or no unit to reorder.

        `key` is what is told to whom this happens, and `otherwise` what else can be done.
        """
        self.layout, model, inputs = bench.objective.layout, bench.build(0), example(bench)
        graph = Graph.of(model, inputs)
        try:
            self.symmetry = symmetry_within(model, inputs, self.layout, key, graph)
        except UserError as error:
            raise UserError(f"{error}; or {otherwise}") from None
        self._factors = {entry.key: self.symmetry.factors(entry.key) for entry in self.layout.entries}
        self.held = tuple(self._held(entry.key, entry.is_complex) for entry in self.layout.entries)
        self.groups = len(self.symmetry.sizes)
        self._scaling = Scaling.in_graph(graph, self.layout.keys) if balance else None
        if self._scaling:
            anchor_D = self.layout.vector(bench.objective.model.state_dict())
            self._longer_U = self._scaling.lengths(anchor_D, self.layout)

    @property
    def edges(self) -> list[tuple[int, ...]]:
        """The groups of each entry that ties units to units."""
        return [held.groups for held in self.held if len(held.groups) > 1]

    def tensors(self, theta_MD: Tensor) -> list[Tensor]:
        """Return each entry of networks, `[M, *units of its groups, C]`, float32 on the CPU."""
        states = self.layout.tensors(self.canonical(theta_MD.cpu().float()))
        return [self._entry(states[held.key], held) for held in self.held]

    def columns(self) -> list[Tensor]:
        """Return the column of each of an entry's numbers, `[*units of its groups, C]`, int64."""
        states = self.layout.tensors(torch.arange(self.layout.dim, dtype=torch.float64)[None])
        return [self._entry(states[held.key], held)[0].long() for held in self.held]

    def canonical(self, theta_MD: Tensor) -> Tensor:
        """Return networks on the CPU in canonical scales; without `balance` as they are."""
        if not self._scaling:
            return theta_MD
        parts = theta_MD.split(max(1, NUMBERS // self.layout.dim))
        return torch.cat([self._scaling.balanced(part_MD, self._longer_U, self.layout) for part_MD in parts])

    def _held(self, key: str, is_complex: bool) -> Held:
        fixed = math.prod(size for size, of in self._factors[key] if of is None)
        groups = tuple(of for _, of in self._factors[key] if of is not None)
        return Held(key, groups, fixed * (2 if is_complex else 1))

    def _entry(self, value: Tensor, held: Held) -> Tensor:
        factors = self._factors[held.key]
        value = torch.view_as_real(value) if value.is_complex() else value
        value = value.reshape(len(value), *(size for size, _ in factors), -1)
        moving = [1 + axis for axis, (_, of) in enumerate(factors) if of is not None]
        return value.movedim(moving, list(range(1, 1 + len(moving)))).flatten(1 + len(moving))


def features(units: Units, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return what each unit holds, group by group `[M, n, F]`, and last what is of the whole network, `[M, 1, F]`.

    A unit holds its slice of every entry (numbers at fixed places as they are, along other units' axes summaries that
    know no order) and the slice's log-length; the whole has entries without units, and summaries of all entries.
    """
    rows: list[list[Tensor]] = [[] for _ in range(units.groups)]
    whole = list[Tensor]()
    for held, value in zip(units.held, tensors, strict=True):
        for axis, group in enumerate(held.groups, 1):
            value_MnKC = value.movedim(axis, 1).reshape(len(value), value.shape[axis], -1, held.channels)
            raw = len(held.groups) == 1
            rows[group] += [value_MnKC[:, :, 0] if raw else summaries(value_MnKC), log_length(value_MnKC)]
        if not held.groups:
            whole.append(value[:, None])
        value_M1K1 = value.reshape(len(value), 1, -1, 1)
        whole += [summaries(value_M1K1), log_length(value_M1K1)]
    return [torch.cat(row, dim=2) for row in [*rows, whole]]


def summaries(value_MnKC: Tensor) -> Tensor:
    """Return the mean, deviation and quantiles over K places, whatever their order, `[M, n, 7 * C]`."""
    at = torch.linspace(0, value_MnKC.shape[2] - 1, POINTS)
    ordered, low, high = value_MnKC.sort(dim=2).values, at.floor().long(), at.ceil().long()
    quantiles = ordered[:, :, low].lerp(ordered[:, :, high], (at - low)[:, None])
    mean, deviation = value_MnKC.mean(dim=2), value_MnKC.std(dim=2, correction=0)
    return torch.cat([mean, deviation, quantiles.flatten(2)], dim=2)


def log_length(value_MnKC: Tensor) -> Tensor:
    """Return the logarithm of the root mean square, `[M, n, 1]`."""
    return 0.5 * (value_MnKC.square().mean(dim=(2, 3)) + LEAST).log()[..., None]

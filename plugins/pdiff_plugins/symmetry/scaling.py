"""Scaling: the positive numbers by which a network's units can be multiplied and leave its function as it is.

A unit's scale multiplies the parameters that it reads with and divides those that read it, between operations that are
homogeneous. The canonical network is the one of least norm, in which both sides of each unit are equally long: one, as
the norm is strictly convex in the logarithms of the scales. A unit in front of a norm has no other side: the mean of
the squares of its parameters becomes what it is in a reference. D parameters, M networks, U units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdiff.zoo import Layout
from pdiff_plugins.symmetry.graph import Graph
from pdiff_plugins.symmetry.homogeneity import Walk
from pdiff_plugins.symmetry.scales import Label, Product, Scales, Term

ROUNDS, TOLERANCE = 2000, 1e-8
"""Most rounds; the change of a scale that ends them."""
LEAST = 1.001
"""Of a norm's eps: what a running variance and eps are together at least."""


@dataclass(frozen=True)
class Follows:
    """One axis of an entry: of each place the unit, `U` where none, and the power of its scale."""

    axis: int
    unit: Tensor
    power: Tensor


@dataclass(frozen=True)
class Scaling:
    """The units of each entry's axes, entries without any left out; of each unit its group, which is scaled at once."""

    follows: dict[str, tuple[Follows, ...]]
    group_U: Tensor
    lost_U: Tensor
    """Of which units a norm takes the scale away."""
    shifts: dict[str, float]
    """What is added to an entry before it is scaled."""

    @classmethod
    def in_graph(cls, graph: Graph, keys: Sequence[str], norms: bool = True) -> Scaling:
        """Walk a graph once, and return the scales that touch nothing but the entries `keys`.

        `norms`: also those in front of a LayerNorm, which its eps makes approximate.
        """
        scales, entries = Scales(), dict[str, Label]()
        walk = Walk(scales, graph.keys, norms)

        def entry(key: str, shape: Sequence[int]) -> Label:
            return entries.setdefault(key, _axes(scales, shape))

        graph.label(entry, lambda shape: (), walk.propagate, walk.fix)
        tied = [key for same in graph.shared() for key in same]
        for key in [*tied, *(key for key in entries if key not in keys)]:
            scales.fix(entries.get(key, ()))
        scales.settle()
        found = {key: [(term.axes[0], _products(scales, term)) for term in label] for key, label in entries.items()}
        roots = sorted({root for terms in found.values() for _, both in terms for root, _ in both if root})
        number = {root: place for place, root in enumerate(roots)}
        sign = {root: power for term in walk.lost for root, power in _products(scales, term) if root}
        firsts = [int(term.unknown.flat[0]) for label in entries.values() for term in label]
        follows = {
            key: tuple(
                Follows(
                    axis,
                    torch.tensor([number.get(root, len(roots)) for root, _ in both]),
                    torch.tensor([power * sign.get(root, 1.0) if root else 0.0 for root, power in both]).double(),
                )
                for axis, both in terms if any(root for root, _ in both)
            )
            for key, terms in found.items()
        }  # fmt: skip
        groups = torch.from_numpy(np.searchsorted(sorted(firsts), roots, side="right"))
        lost = torch.tensor([root in sign for root in roots], dtype=torch.bool)
        return cls({key: axes for key, axes in follows.items() if axes}, groups, lost, walk.shifts)

    @property
    def units(self) -> int:
        """U, how many scales there are."""
        return len(self.group_U)

    def scaled(self, theta_MD: Tensor, log_MU: Tensor, layout: Layout) -> Tensor:
        """Return networks whose units are multiplied by exp(log_MU)."""
        out_MD, log_MU = theta_MD.clone(), torch.nn.functional.pad(log_MU, (0, 1))
        states, out = layout.tensors(theta_MD), layout.tensors(out_MD)
        for key, axes in self.follows.items():
            shift = self.shifts.get(key, 0.0)
            value = states[key].double() + shift
            for at in axes:
                value = value * _spread((log_MU[:, at.unit] * at.power).exp(), at.axis, value.dim() - 1)
            out[key].copy_(value - shift)
        return out_MD

    def lengths(self, reference_D: Tensor, layout: Layout) -> Tensor:
        """Return what `balanced` needs of a reference, `[U]`."""
        return _Balance(self, layout, reference_D[None]).lost()

    def balanced(self, theta_MD: Tensor, longer_U: Tensor, layout: Layout) -> Tensor:
        """Return theta_MD as canonical networks; scales that a norm takes away are a reference's, by its lengths."""
        if not self.units:
            return theta_MD
        return self.scaled(theta_MD, _Balance(self, layout, theta_MD).solve(longer_U), layout)

    def random(self, count: int, spread: float, generator: torch.Generator) -> Tensor:
        """Return random logarithms of scales with the standard deviation `spread`, `[count, U]`."""
        return spread * torch.randn(count, self.units, generator=generator, dtype=torch.float64)

    def rescaled(self, theta_MD: Tensor, layout: Layout, log_MU: Tensor) -> Tensor:
        """Return theta_MD with units multiplied by exp(log_MU), or by the least that leaves variances positive."""
        return self.scaled(theta_MD, log_MU.maximum(self.least(layout.tensors(theta_MD))), layout)

    def least(self, states: Mapping[str, Tensor]) -> Tensor:
        """Return the least log-scales, by which variances stay above zero, `[M, U]`."""
        first = next(iter(states.values()))
        least_MU = torch.full((len(first), self.units + 1), -torch.inf, dtype=torch.float64)
        for key, shift in self.shifts.items():
            for at in self.follows.get(key, ()):
                bound_Mn = ((LEAST * shift) / (states[key].double() + shift)).log() / at.power
                least_MU[:, at.unit] = bound_Mn.nan_to_num(-torch.inf)
        return least_MU[:, :-1]


class _Balance:
    """The squares of networks' parameters, summed over axes without units; and the log-scales found so far."""

    def __init__(self, scaling: Scaling, layout: Layout, theta_MD: Tensor):
        self.group_U, self.lost_U = scaling.group_U, scaling.lost_U
        self.follows = {
            key: axes
            for key, axes in scaling.follows.items()
            if all(set(at.power.tolist()) <= {-1, 0, 1} for at in axes)  # a variance follows its channel: it has no say
        }
        states = layout.tensors(theta_MD)
        self.squares = {key: _summed(states[key], axes) for key, axes in self.follows.items()}
        self.least_MU = scaling.least(states)
        self.log_MU = torch.zeros(len(theta_MD), scaling.units + 1, dtype=torch.float64)

    def sides(self, places: Sequence[tuple[str, int]]) -> tuple[Tensor, Tensor]:
        """Return the squares of what units multiply and divide on these axes of entries, `[M, U + 1]` each."""
        both = torch.zeros(2, *self.log_MU.shape, dtype=torch.float64)
        for key, place in places:
            square, axes = self.squares[key], self.follows[key]
            factors = [(2 * self.log_MU[:, at.unit] * at.power).exp() for at in axes]
            for other in reversed(range(len(axes))):
                if other != place:
                    moved = square.movedim(1 + other, -1)
                    square = (moved @ factors[other].reshape(len(square), *[1] * (moved.dim() - 3), -1, 1))[..., 0]
            for side, sign in enumerate((1, -1)):
                own = axes[place].power == sign
                both[side].index_add_(1, axes[place].unit[own], (square * factors[place])[:, own])
        return both[0], both[1]

    def lost(self) -> Tensor:
        """Return by how much longer is what units multiply whose scale is lost, the mean of each group, `[U]`.

        In squares, of the first network, with its other units in balance; 0 for others.
        """
        self.solve(torch.zeros(len(self.lost_U)), ~self.lost_U)
        every = [(key, place) for key, axes in self.follows.items() for place in range(len(axes))]
        multiplied_MU, divided_MU = self.sides(every)
        longer_U = (multiplied_MU - divided_MU)[0, :-1] * self.lost_U
        for group in self.group_U[self.lost_U].unique():
            own_U = self.lost_U & (self.group_U == group)
            longer_U[own_U] = longer_U[own_U].mean()
        return longer_U

    def solve(self, longer_U: Tensor, free_U: Tensor | None = None) -> Tensor:
        """Return the log-scales of the canonical networks, `[M, U]`: in turn those of each group, until all are still.

        `free_U`: only of these units.
        """
        free_U = torch.ones_like(self.lost_U) if free_U is None else free_U
        groups = [(free_U & (self.group_U == group)).nonzero()[:, 0] for group in self.group_U[free_U].unique()]
        steps = [(units, self._places(units), longer_U[units]) for units in groups]
        left_M = torch.ones(len(self.log_MU), dtype=torch.bool)
        for _ in range(ROUNDS):
            before_MU = self.log_MU.clone()
            for step in steps:
                self._improve(*step)
            self.log_MU = torch.where(left_M[:, None], self.log_MU, before_MU)  # others' rounds change nothing here
            left_M &= ((self.log_MU - before_MU).abs() > TOLERANCE).any(dim=1)
            if not left_M.any():
                break
        return self.log_MU[:, :-1]

    def _places(self, units: Tensor) -> list[tuple[str, int]]:
        """Return the axes of entries that follow some of the units."""
        return [
            (key, place)
            for key, axes in self.follows.items()
            for place, at in enumerate(axes)
            if torch.isin(at.unit, units).any()
        ]

    def _improve(self, units: Tensor, places: list[tuple[str, int]], longer_U: Tensor) -> None:
        """Let what some units multiply be so much longer than what they divide, in squares.

        Units that read each other go half the way: so the norm still falls. Where there is no such scale, as for a unit
        that nobody reads, it is left as it is.
        """
        multiplied_MU, divided_MU = (side_MU[:, units] for side_MU in self.sides(places))
        root_MU = (longer_U.square() + 4 * multiplied_MU * divided_MU).sqrt()
        way = 2 if len({key for key, _ in places}) == len(places) else 4
        step_MU = (((longer_U + root_MU) / (2 * multiplied_MU)).log() / way).nan_to_num(0.0, 0.0, 0.0)
        self.log_MU[:, units] = (self.log_MU[:, units] + step_MU).maximum(self.least_MU[:, units])


def _axes(scales: Scales, shape: Sequence[int]) -> Label:
    """Return an unknown for each place of each axis."""
    whole = [1] * len(shape)
    return tuple(
        scales.new([*whole[:axis], int(size), *whole[axis + 1 :]]) for axis, size in enumerate(shape) if size > 1
    )


def _products(scales: Scales, term: Term) -> list[Product]:
    """Return the unknowns that a term follows, and their powers."""
    both = [(*scales.root(unknown), power) for unknown, power in term.products()]
    return [(root, power * times) for root, times, power in both]


def _spread(value_Mn: Tensor, axis: int, ndim: int) -> Tensor:
    return value_Mn.reshape(len(value_Mn), *[1] * axis, -1, *[1] * (ndim - axis - 1))


def _summed(value: Tensor, axes: Sequence[Follows]) -> Tensor:
    """Return squares summed over axes without units."""
    away = [axis for axis in range(1, value.dim()) if axis - 1 not in {at.axis for at in axes}]
    squares = value.double().square()
    return squares.sum(dim=away) if away else squares

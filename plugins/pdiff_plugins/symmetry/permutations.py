"""Symmetry: the permutations of hidden units that leave a network's function as it is, found in its graph.

Every axis of every entry is parted in factors, each with the permutation that it follows. Operations tie factors
together, as an addition ties those of its operands; an operation that is not known fixes all that it reads. So a
symmetry may be missed, but none is claimed that is not there. Of attention whole heads are permuted, and the channels
within heads alike in all heads. An entry under several names moves alike under all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from pdiff.data import Inputs
from pdiff_plugins.symmetry.factors import Axes, Factor, every, fix, free, root, still
from pdiff_plugins.symmetry.graph import Graph, plain
from pdiff_plugins.symmetry.propagation import Walk

NumberedFactor = tuple[int, int | None]
"""A factor of an entry: its size, and which permutation it follows."""


@dataclass
class Symmetry:
    """The factors of each axis of every entry, the slowest first; and the sizes of the permutations."""

    axes: dict[str, tuple[tuple[NumberedFactor, ...], ...]]
    sizes: list[int] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=dict, compare=False)
    """Of entries that are one tensor all their names."""
    unknown: dict[str, set[str]] = field(default_factory=dict, compare=False)
    """The operations without a rule, and the entries some of whose units they keep in order."""

    @classmethod
    def of(cls, model: nn.Module, inputs: Inputs) -> Symmetry:
        """Find the symmetry of a network in eval mode, on example inputs. Raises UserError where it has no graph."""
        return cls.in_graph(Graph.of(model, inputs))

    @classmethod
    def in_graph(cls, graph: Graph) -> Symmetry:
        """Walk a graph once, and number the permutations of the entries that it reads."""
        entries, walk = dict[str, Axes](), Walk()
        named = {key: keys for keys in graph.shared() for key in keys}
        alike = {key: keys[0] for key, keys in named.items() if len({graph.state[key].shape for key in keys}) == 1}

        def entry(key: str, shape: Sequence[int]) -> Axes:
            return entries.setdefault(alike.get(key, key), free(shape))

        graph.label(entry, still, walk.propagate, fix)
        fix([entries.get(key, ()) for key in named if key not in alike])
        symmetry = cls._numbered({
            key: entries.get(alike.get(key, key)) or still(value.shape) for key, value in graph.state.items()
        })  # fmt: skip
        symmetry.names = {key: named[key] for key in alike}
        for node, held in walk.unknown:
            now = set(root(held))
            keys = {key for key, axes in entries.items() if not now.isdisjoint(root(tuple(every(axes))))}
            symmetry.unknown.setdefault(plain(node), set()).update(keys)
        return symmetry

    @classmethod
    def _numbered(cls, entries: Mapping[str, Axes]) -> Symmetry:
        factors = {key: tuple(root(axis) for axis in axes) for key, axes in entries.items()}
        number: dict[Factor, int] = {}
        for factor in every(list(factors.values())):
            if not factor.fixed and factor.size > 1:
                number.setdefault(factor, len(number))
        axes = {
            key: tuple(tuple((factor.size, number.get(factor)) for factor in axis) for axis in entry_axes)
            for key, entry_axes in factors.items()
        }
        return cls(axes, [factor.size for factor in number])

    def within(self, keys: Sequence[str]) -> Symmetry:
        """Return the permutations that touch nothing but the entries `keys`, for these."""
        touched = {of for key in self.beyond(keys) for _, of in self.factors(key)}
        indices = [index for index in range(len(self.sizes)) if index not in touched]
        number: dict[int | None, int] = {old: new for new, old in enumerate(indices)}
        axes = {
            key: tuple(tuple((size, number.get(of)) for size, of in axis) for axis in self.axes[key]) for key in keys
        }
        return Symmetry(axes, [self.sizes[index] for index in indices], self.names, self.unknown)

    def beyond(self, keys: Sequence[str]) -> list[str]:
        """Return the entries that move with some unit, and are none of `keys` by any of their names."""
        within = {name for key in keys for name in self.names.get(key, [key])}
        return [key for key in self.axes if key not in within and any(of is not None for _, of in self.factors(key))]

    def factors(self, key: str) -> list[NumberedFactor]:
        """Return an entry's factors, axis after axis."""
        return [factor for axis in self.axes[key] for factor in axis]

    @property
    def nested(self) -> list[tuple[int, int]]:
        """The pairs of permutations of which one moves blocks, and the other what is in a block."""
        pairs = dict[tuple[int, int], None]()
        for axis in (axis for axes in self.axes.values() for axis in axes):
            for (_, outer), (_, inner) in pairwise(axis):
                if outer is not None and inner is not None and outer != inner:
                    pairs[outer, inner] = None
        return list(pairs)

    def permuted(self, state: Mapping[str, Tensor], permutations: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the entries of `state` with units reordered: unit i becomes what unit `permutations[p][i]` was."""
        return {key: self.entry(key, value, permutations).reshape(value.shape) for key, value in state.items()}

    def entry(self, key: str, value: Tensor, permutations: Sequence[Tensor]) -> Tensor:
        """Return one entry with its units reordered, in the shape of its factors."""
        value = value.reshape(self.shape(key))
        for axis, (_, of) in enumerate(self.factors(key)):
            if of is not None:
                value = value.index_select(axis, permutations[of])
        return value

    def shape(self, key: str) -> list[int]:
        """Return the sizes of an entry's factors."""
        return [size for size, _ in self.factors(key)]

    def random(self, generator: torch.Generator) -> list[Tensor]:
        """Return one random permutation each."""
        return [torch.randperm(size, generator=generator) for size in self.sizes]

    def identity(self) -> list[Tensor]:
        return [torch.arange(size) for size in self.sizes]

"""Tokens of G.pt: a parameter vector parted into kinds of tokens, and back.

D parameters, B batch; U tokens of a kind, S numbers in each of them, T tokens in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pdiff.zoo import Layout
from pdiff_plugins.symmetry.permutations import Symmetry

Policy = Literal["neuron", "chunk_within_layer", "layer", "flat"]


@dataclass(frozen=True)
class Kind:
    """Tokens of one size, which share their projections; `placed`: each has a position of its own."""

    index_US: Tensor
    """Column of the vector at each place; every column stands in one place of one kind."""
    placed: bool


class Kinds(nn.Module):
    """All tokens of a vector; it has no parameters, and its state dict is empty."""

    place_D: Tensor
    """Where each column stands among all places."""

    def __init__(self, kinds: Sequence[Kind]):
        super().__init__()
        self.placed = [kind.placed for kind in kinds]
        tables = [kind.index_US for kind in kinds]
        for number, index_US in enumerate(tables):
            self.register_buffer(f"index_{number}", index_US, persistent=False)
        place_D = torch.cat([index_US.flatten() for index_US in tables]).argsort()
        self.register_buffer("place_D", place_D, persistent=False)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(Kind(getattr(self, f"index_{number}"), placed) for number, placed in enumerate(self.placed))

    def split(self, x_BD: Tensor) -> list[Tensor]:
        """Return the tokens of each kind, `[B, U, S]`."""
        return [x_BD[:, kind.index_US] for kind in self.kinds]

    def join(self, tokens: list[Tensor]) -> Tensor:
        """Return the vectors `[B, D]`: the exact inverse of `split`."""
        return torch.cat([tokens_BUS.flatten(1) for tokens_BUS in tokens], dim=1)[:, self.place_D]

    def tables(self) -> dict[str, Tensor]:
        """Return what `load` rebuilds them from."""
        return {
            f"{number:05d}.{'placed' if kind.placed else 'alike'}": kind.index_US
            for number, kind in enumerate(self.kinds)
        }

    @classmethod
    def load(cls, tensors: dict[str, Tensor]) -> Kinds:
        return cls(tuple(Kind(tensors[name], name.endswith(".placed")) for name in sorted(tensors)))


def by_neuron(layout: Layout, symmetry: Symmetry) -> Kinds:
    """One token per hidden unit: the weights that it reads with, its bias, and those by which outputs read it.

    A weight between two hidden layers belongs to the unit that reads. What no hidden unit owns is one more token.
    Units have no positions, so that permuting them permutes their tokens; but where the weights of other units are
    told apart by the unit that they read, it has one. Such permutations are known by `Kind.placed`.
    """
    owned: dict[int | None, list[Tensor]] = {}
    told_apart = set[int | None]()
    for entry in layout.entries:
        columns, permuted = torch.arange(entry.start, entry.stop), _permuted(symmetry, entry.key)
        value = columns.reshape(*symmetry.shape(entry.key), *(2,) * entry.is_complex)
        axis, owner = permuted[0] if permuted else (0, None)
        told_apart |= {of for _, of in permuted[1:]}
        units = value.movedim(axis, 0) if permuted else value[None]
        owned.setdefault(owner, []).append(units.reshape(len(units), -1))
    return Kinds(tuple(Kind(torch.cat(columns_U, dim=1), owner in told_apart) for owner, columns_U in owned.items()))


def _permuted(symmetry: Symmetry, key: str) -> list[tuple[int, int]]:
    """Return (axis, permutation) of an entry's factors that are permuted."""
    return [(axis, of) for axis, (_, of) in enumerate(symmetry.factors(key)) if of is not None]


def by_chunk(layout: Layout, policy: Policy, size: int) -> Kinds:
    """Return the paper's tokens, each a kind of its own: entries, pieces of entries, or pieces of the whole vector.

    No piece is longer than `size`; the last may be shorter.
    """
    spans = [(0, layout.dim)] if policy == "flat" else [(entry.start, entry.stop) for entry in layout.entries]
    pieces = [
        torch.arange(at, min(at + (size if policy != "layer" else stop - start), stop))
        for start, stop in spans
        for at in range(start, stop, size if policy != "layer" else stop - start)
    ]
    return Kinds(tuple(Kind(piece[None], True) for piece in pieces))


def shuffled(x_BD: Tensor, layout: Layout, symmetry: Symmetry, order: list[Tensor]) -> Tensor:
    """Return networks with their hidden units reordered; `order` holds one permutation per network, `[B, size]` each.

    Networks compute what they did: permutation augmentation (Peebles et al. 2022, section 3.3).
    """
    entries = []
    for entry in layout.entries:
        value = x_BD[:, entry.columns].reshape(-1, *symmetry.shape(entry.key), *(2,) * entry.is_complex)
        for axis, (_, of) in enumerate(symmetry.factors(entry.key), start=1):
            if of is not None:
                moved = value.movedim(axis, 1)
                value = moved[torch.arange(len(moved))[:, None], order[of]].movedim(1, axis)
        entries.append(value.reshape(len(x_BD), -1))
    return torch.cat(entries, dim=1)

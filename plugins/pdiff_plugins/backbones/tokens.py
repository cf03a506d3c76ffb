"""Tokens: a parameter vector cut into rows of equal length, and back. B batch, D dim, T tokens, S numbers per token."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdiff.zoo import Entry, Layout

By = Literal["layer", "neuron", "chunk"]


class Tokens(nn.Module):
    """An index table between vectors and tokens; it has no parameters, and its state dict is empty.

    Tokens of one layer lie side by side, and so do the pieces of one row (Schürholt et al. 2024, arXiv 2406.09997,
    section 3.1).
    """

    index_TS: Tensor
    """Column of the vector at each place of a token; -1 for padding."""
    layer_T: Tensor
    row_T: Tensor
    """Number of the row within its layer, the same for all pieces of a row."""
    place_D: Tensor
    """Where each column stands among all T * S places."""

    def __init__(self, rows_RL: list[Tensor], size: int = 0):
        """Cut the columns of each layer's rows, `[R, L]`, to pieces of `size`; 0: of the longest row."""
        super().__init__()
        longest = max(rows.shape[1] for rows in rows_RL)
        size = min(size or longest, longest)
        cut = [_cut(rows, size) for rows in rows_RL]
        pieces = torch.tensor([len(index) for index, _ in cut])
        tables = {
            "index_TS": torch.cat([index for index, _ in cut]),
            "layer_T": torch.arange(len(cut)).repeat_interleave(pieces),
            "row_T": torch.cat([row for _, row in cut]),
        }
        for name, table in (tables | {"place_D": _places(tables["index_TS"])}).items():
            self.register_buffer(name, table, persistent=False)

    @classmethod
    def of(cls, layout: Layout, by: By, size: int = 0) -> Tokens:
        """Return the tokens of a layout, none longer than `size` (0: as long as the longest row).

        `layer`: a row is an entry. `neuron`: a row is all that the entries of one module hold for one index of their
        first axis, such as an output's weights and its bias. `chunk`: the whole vector is one row.
        """
        return cls({"layer": _by_layer, "neuron": _by_neuron, "chunk": _in_one}[by](layout), size)

    @classmethod
    def chunks(cls, dim: int, size: int) -> Tokens:
        """Return the tokens of a vector that has no layout: pieces of `size`, the last one padded."""
        return cls.of(Layout((Entry("vector", (dim,), 0),)), "chunk", size)

    @property
    def shape(self) -> tuple[int, int]:
        """Return (T, S)."""
        count, size = self.index_TS.shape
        return count, size

    @property
    def mask_TS(self) -> Tensor:
        """Return where numbers stand; elsewhere is padding."""
        return self.index_TS >= 0

    def split(self, x_BD: Tensor) -> Tensor:
        """Return the tokens `[B, T, S]`, padded with 0."""
        return F.pad(x_BD, (0, 1))[:, self.index_TS]

    def join(self, tokens_BTS: Tensor) -> Tensor:
        """Return the vectors `[B, D]`: the exact inverse of `split`; what stands on padding is not read."""
        return tokens_BTS.flatten(1)[:, self.place_D]


def _cut(rows_RL: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the pieces `[R * pieces, size]` of rows, the last of each padded with -1, and each one's row."""
    count, length = rows_RL.shape
    pieces = -(-length // size)
    padded = F.pad(rows_RL, (0, pieces * size - length), value=-1)
    return padded.reshape(-1, size), torch.arange(count).repeat_interleave(pieces)


def _places(index_TS: Tensor) -> Tensor:
    """Invert the table."""
    index = index_TS.flatten()
    place_D = torch.empty(int(index.max()) + 1, dtype=torch.int64)
    places = (index >= 0).nonzero()[:, 0]
    place_D[index[places]] = places
    return place_D


def _by_layer(layout: Layout) -> list[Tensor]:
    return [torch.arange(entry.start, entry.stop)[None] for entry in layout.entries]


def _by_neuron(layout: Layout) -> list[Tensor]:
    groups: dict[tuple[str, int], list[Tensor]] = {}
    for entry in layout.entries:
        count, *rest = entry.shape or (1,)
        rows_RL = torch.arange(entry.start, entry.stop).reshape(count, math.prod(rest))
        groups.setdefault((entry.key.rpartition(".")[0], count), []).append(rows_RL)
    return [torch.cat(group, dim=1) for group in groups.values()]


def _in_one(layout: Layout) -> list[Tensor]:
    return [torch.arange(layout.dim)[None]]

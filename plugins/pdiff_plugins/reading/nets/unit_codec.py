"""An autoencoder with a latent for each hidden unit, and one for the whole network, whatever the units' order.

What belongs to no unit counts as a group of its own, the last, with one unit: the whole. B networks, N networks learnt,
n units of a group, C channels of an entry, D numbers of a network, Z of its latent, L of a unit's, E width of a unit's
state, K of an edge's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pdiff_plugins.backbones.nets.linear_codec import principal_components
from pdiff_plugins.reading.nets.message_net import Groups, Messages
from pdiff_plugins.reading.units import Units, log_length


@dataclass(frozen=True)
class Table:
    """Of each entry the groups that its axes follow, and the columns of its numbers, `[*n, C]`, int64."""

    groups: int
    """How many of units: the next number is the whole's."""
    of: list[Groups]
    columns: list[Tensor]

    @classmethod
    def of_units(cls, units: Units) -> Table:
        """Return that of a run's networks."""
        columns = zip(units.held, units.columns(), strict=True)
        return cls(
            units.groups, [held.groups or (units.groups,) for held in units.held],
            [(value if held.groups else value[None]).contiguous() for held, value in columns],
        )  # fmt: skip

    @classmethod
    def alone(cls, dim: int) -> Table:
        """Return that of a vector that has no units: all of it is the whole's."""
        return cls(0, [(0,)], [torch.arange(dim)[None]])

    @property
    def sizes(self) -> list[int]:
        """How many units each group has, and last the whole, which has 1."""
        sizes = [1] * (self.groups + 1)
        for of, columns in zip(self.of, self.columns, strict=True):
            for group, size in zip(of, columns.shape[:-1], strict=True):
                sizes[group] = size
        return sizes


class Product(nn.Module):
    """The product over an entry's axes of what the latents of the units there say."""

    def __init__(self, of: Groups, lengths: Sequence[int], narrow: int):
        super().__init__()
        self.of = of
        self.ends = nn.ModuleList(nn.Linear(lengths[group], narrow) for group in of)

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Return `[B, *n, K]`."""
        product = latents[0].new_ones(())
        for axis, (end, group) in enumerate(zip(self.ends, self.of, strict=True)):
            said_BnK = end(latents[group])
            shape = [said_BnK.shape[1] if other == axis else 1 for other in range(len(self.of))]
            product = product * said_BnK.reshape(len(said_BnK), *shape, -1)
        return product


class UnitCodec(nn.Module):
    """Messages between units to a latent of each, and messages between latents to the entries.

    Both ways have a linear map beside: of each unit's numbers alone, to the latent and back; where an entry ties
    several units, from the product of what their latents say. Reordered units have reordered latents.
    """

    back_D: Tensor

    def __init__(self, table: Table, latent: int, whole: int, width: int, narrow: int, rounds: int):
        super().__init__()
        self.table, self.sizes = table, table.sizes
        self.lengths = [*[latent] * (len(self.sizes) - 1), whole]
        self.latent_dim = sum(map(math.prod, zip(self.sizes, self.lengths, strict=True)))
        for index, columns in enumerate(table.columns):
            self.register_buffer(f"columns{index}", columns, persistent=False)
        flat_D = torch.cat([columns.flatten() for columns in table.columns])
        self.register_buffer("back_D", flat_D.argsort(), persistent=False)
        channels = [columns.shape[-1] for columns in table.columns]
        ties = [(of, count) for of, count in zip(table.of, channels, strict=True) if len(of) > 1]
        edges = [of for of, _ in ties]
        self.into = nn.ModuleList(
            nn.Linear(count, self.lengths[of[0]], bias=False)
            for of, count in zip(table.of, channels, strict=True) if len(of) == 1
        )  # fmt: skip
        self.read = Messages(self._read(channels), [count for _, count in ties], edges, width, narrow, rounds)
        self.narrow = nn.ModuleList(nn.Linear(width, length) for length in self.lengths)
        self.products = nn.ModuleList(Product(of, self.lengths, narrow) for of in edges)
        self.write = Messages(self.lengths, [narrow] * len(ties), edges, width, narrow, rounds)
        self.beside, self.leave = nn.ModuleList(), nn.ModuleList()
        for of, count in zip(table.of, channels, strict=True):
            self.beside.append(nn.Linear(narrow if len(of) > 1 else self.lengths[of[0]], count, bias=False))
            self.leave.append(nn.Linear(narrow if len(of) > 1 else width, count))

    def _read(self, channels: list[int]) -> list[int]:
        """Return how many numbers of `_held` a unit of each group has."""
        count, last = [0] * len(self.sizes), len(self.sizes) - 1
        for of, own in zip(self.table.of, channels, strict=True):
            for group in of:
                count[group] += 1 + (own if len(of) == 1 else 0)
            count[last] += of != (last,)
        return count

    def _entries(self, x_BD: Tensor) -> list[Tensor]:
        columns = [self.get_buffer(f"columns{index}") for index in range(len(self.table.of))]
        return [x_BD[:, own] for own in columns]

    def _held(self, entries: Sequence[Tensor]) -> list[Tensor]:
        """Return what units hold: their own numbers, and log-lengths of their slices of each entry; `[B, n, F]`."""
        rows: list[list[Tensor]] = [[] for _ in self.sizes]
        last = len(rows) - 1
        for of, value in zip(self.table.of, entries, strict=True):
            for axis, group in enumerate(of, 1):
                value_BnKC = value.movedim(axis, 1).reshape(len(value), value.shape[axis], -1, value.shape[-1])
                rows[group] += [value_BnKC[:, :, 0]] if len(of) == 1 else []
                rows[group].append(log_length(value_BnKC))
            if of != (last,):
                rows[last].append(log_length(value.reshape(len(value), 1, -1, 1)))
        return [torch.cat(row, dim=2) for row in rows]

    def encode(self, x_BD: Tensor) -> Tensor:
        """Return the latents: unit after unit of each group, and the whole's."""
        entries = self._entries(x_BD)
        edges = [value for of, value in zip(self.table.of, entries, strict=True) if len(of) > 1]
        _, units, whole_BE = self.read(self._held(entries), edges)
        states = [*units, whole_BE[:, None]]
        latents = [narrow(state_BnE) for narrow, state_BnE in zip(self.narrow, states, strict=True)]
        alone = ((of[0], value) for of, value in zip(self.table.of, entries, strict=True) if len(of) == 1)
        for into, (group, value_BnC) in zip(self.into, alone, strict=True):
            latents[group] = latents[group] + into(value_BnC)
        return torch.cat([latent_BnL.flatten(1) for latent_BnL in latents], dim=1)

    def latents(self, z_BZ: Tensor) -> list[Tensor]:
        """Return the latents of each group, `[B, n, L]`, and last the whole's, `[B, 1, L]`."""
        parts = z_BZ.split([math.prod(shape) for shape in zip(self.sizes, self.lengths, strict=True)], dim=1)
        return [
            part.unflatten(1, shape)
            for part, shape in zip(parts, zip(self.sizes, self.lengths, strict=True), strict=True)
        ]

    def decode(self, z_BZ: Tensor) -> Tensor:
        latents = self.latents(z_BZ)
        products = [product(latents) for product in self.products]
        edges, units, whole_BE = self.write(latents, products)
        states, of_ties = [*units, whole_BE[:, None]], iter(zip(products, edges, strict=True))
        parts = []
        for of, beside, leave in zip(self.table.of, self.beside, self.leave, strict=True):
            plain, state = next(of_ties) if len(of) > 1 else (latents[of[0]], states[of[0]])
            parts.append((beside(plain) + leave(state)).flatten(1))
        return torch.cat(parts, dim=1)[:, self.back_D]

    @torch.no_grad()
    def start(self, x_ND: Tensor) -> None:
        """Begin as principal components of each group's units, taken one by one; the rest adds nothing yet."""
        alone = [index for index, of in enumerate(self.table.of) if len(of) == 1]
        for index, of in enumerate(self.table.of):
            self.get_parameter(f"leave.{index}.weight").zero_()
            self.get_parameter(f"leave.{index}.bias").zero_()
            if len(of) > 1:
                self.get_parameter(f"beside.{index}.weight").zero_()
        for group, length in enumerate(self.lengths):
            here = [index for index in alone if self.table.of[index] == (group,)]
            if not here:
                continue
            parts = [x_ND[:, self.table.columns[index]].flatten(0, 1) for index in here]
            rows = torch.cat(parts, dim=1)
            found_KF = principal_components(rows, torch.zeros(rows.shape[1], dtype=torch.float64), length)
            basis_LF = nn.functional.pad(found_KF, (0, 0, 0, length - len(found_KF)))
            self.get_parameter(f"narrow.{group}.weight")[: len(found_KF)] = 0.0
            self.get_parameter(f"narrow.{group}.bias").zero_()
            for index, part_LC in zip(here, basis_LF.split([part.shape[1] for part in parts], dim=1), strict=True):
                self.get_parameter(f"into.{alone.index(index)}.weight").copy_(part_LC)
                self.get_parameter(f"beside.{index}.weight").copy_(part_LC.T)

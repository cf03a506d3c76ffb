"""Messages between hidden units along the weights that tie them.

B networks, E width of a unit's state, K of an edge's; an edge's tensor has an axis for each of its groups of units.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Groups = tuple[int, ...]
"""The groups that the axes of an entry follow."""


class Gated(nn.Module):
    """A step added to a state: the product of two linear maps of what is read, normalised, one through GELU."""

    def __init__(self, read: int, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(read)
        self.both, self.out = nn.Linear(read, 4 * width), nn.Linear(2 * width, width)

    def forward(self, state: Tensor, *more: Tensor) -> Tensor:
        """Return the state after the step; `more` has its shape but for the last axis, or is spread over it."""
        read = torch.cat([state, *(value.expand(*state.shape[:-1], -1) for value in more)], dim=-1)
        value, gate = self.both(self.norm(read)).chunk(2, dim=-1)
        step: Tensor = self.out(value * nn.functional.gelu(gate))
        return state + step


class Edges(nn.Module):
    """The edges of one entry, which see the units at their ends and the whole, and what they send to each axis."""

    def __init__(self, of: Groups, width: int, narrow: int):
        super().__init__()
        self.of = of
        self.ends = nn.ModuleList(nn.Linear(width, narrow) for _ in of)
        self.above, self.step = nn.Linear(width, narrow), Gated(3 * narrow, narrow)
        self.out = nn.ModuleList(nn.Linear(narrow, width) for _ in of)

    def forward(self, edge: Tensor, units: list[Tensor], whole_BE: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the edges after the step, and for the units of each axis the mean of their edges, `[B, n, E]`."""
        count, axes, seen = len(edge), range(1, 1 + len(self.of)), torch.zeros_like(edge)
        for axis, group, along in zip(axes, self.of, self.ends, strict=True):
            shape = [edge.shape[axis] if other == axis else 1 for other in axes]
            seen = seen + along(units[group]).reshape(count, *shape, -1)
        edge = self.step(edge, seen, self.above(whole_BE).reshape(count, *[1] * len(self.of), -1))
        means = [edge.mean(dim=[other for other in axes if other != axis]) for axis in axes]
        return edge, [out(mean_BnK) for out, mean_BnK in zip(self.out, means, strict=True)]


class Round(nn.Module):
    """Edges see the units at their ends, units their edges' mean and their group's, and the whole sees all groups."""

    def __init__(self, groups: int, edges: Sequence[Groups], width: int, narrow: int):
        super().__init__()
        self.of = list(edges)
        self.edges = nn.ModuleList(Edges(of, width, narrow) for of in edges)
        self.steps = nn.ModuleList(Gated(4 * width, width) for _ in range(groups))
        self.whole_step = Gated((1 + groups) * width, width)

    def forward(
        self, edges: list[Tensor], units: list[Tensor], whole_BE: Tensor
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Return all states after the round."""
        heard, after = [torch.zeros_like(unit_BnE) for unit_BnE in units], list[Tensor]()
        for of, entry, edge in zip(self.of, self.edges, edges, strict=True):
            now, messages = entry(edge, units, whole_BE)
            after.append(now)
            for group, message_BnE in zip(of, messages, strict=True):
                heard[group] = heard[group] + message_BnE
        units = [
            step(unit_BnE, heard_BnE, unit_BnE.mean(dim=1, keepdim=True), whole_BE[:, None])
            for step, unit_BnE, heard_BnE in zip(self.steps, units, heard, strict=True)
        ]
        return after, units, self.whole_step(whole_BE, *(unit_BnE.mean(dim=1) for unit_BnE in units))


class Messages(nn.Module):
    """States of units, edges and the whole from what they hold, and rounds of messages between them."""

    def __init__(
        self, read: Sequence[int], channels: Sequence[int], edges: Sequence[Groups], width: int, narrow: int,
        rounds: int,
    ):  # fmt: skip
        """`read`: numbers of a unit of each group, and last of what belongs to none; `channels`: of each edge."""
        super().__init__()
        self.enter = nn.ModuleList(nn.Linear(size, width) for size in read)
        self.enter_edges = nn.ModuleList(nn.Linear(size, narrow) for size in channels)
        self.rounds = nn.ModuleList(Round(len(read) - 1, edges, width, narrow) for _ in range(rounds))

    def forward(self, held: Sequence[Tensor], edges: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Return the states of edges, `[B, *n, K]` each, of units, `[B, n, E]`, and of the whole, `[B, E]`.

        `held` is what the units of each group and, last, the whole hold, `[B, n, F]` each.
        """
        *units, whole_B1E = [enter(value) for enter, value in zip(self.enter, held, strict=True)]
        states = [enter(value) for enter, value in zip(self.enter_edges, edges, strict=True)]
        whole_BE = whole_B1E[:, 0]
        for messages in self.rounds:
            states, units, whole_BE = messages(states, units, whole_BE)
        return states, units, whole_BE


class MessageNet(nn.Module):
    """One number from the means over units of their states after rounds of messages."""

    def __init__(
        self, read: Sequence[int], channels: Sequence[int], edges: Sequence[Groups], width: int, narrow: int,
        rounds: int,
    ):  # fmt: skip
        """See `Messages`."""
        super().__init__()
        self.held, pooled = len(read), len(read) * width
        self.messages = Messages(read, channels, edges, width, narrow, rounds)
        self.head = nn.Sequential(
            nn.LayerNorm(pooled), nn.Linear(pooled, 2 * width), nn.GELU(), nn.Linear(2 * width, 1)
        )

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return `[B]` from what the units of each group, and the whole, hold, and the edges."""
        _, units, whole_BE = self.messages(inputs[: self.held], inputs[self.held :])
        out_B1: Tensor = self.head(torch.cat([whole_BE, *(unit_BnE.mean(dim=1) for unit_BnE in units)], dim=1))
        return out_B1[:, 0]

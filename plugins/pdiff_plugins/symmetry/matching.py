"""Matching: the order of one network's hidden units that is nearest to another's (git re-basin's weight matching).

Ainsworth et al. 2023, arXiv 2209.04836, algorithm 1, which finds a local optimum; two things are ours. It begins with
the units that weights of matched units alone can tell, from the inputs inwards. And an attention's heads and the
channels within them, of which neither can be matched without the other, are matched together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from pdiff_plugins.symmetry.permutations import Symmetry

ROUNDS = 100
GAIN = 1e-9
"""Share of the inner product that a round must add."""
Step = tuple[int, ...]
"""One permutation, or two that are nested: heads and channels."""


def match(
    symmetry: Symmetry, reference: Mapping[str, Tensor], state: Mapping[str, Tensor], generator: torch.Generator
) -> list[Tensor]:
    """Return the permutations of `state` that maximise its inner product with the reference, a local optimum.

    Coordinate descent: each permutation in turn, in random order, by linear assignment, until nothing is gained.
    """
    work = _Matching(symmetry, reference, state)
    work.begin()
    total = work.product(state)
    for _ in range(ROUNDS):
        order = torch.randperm(len(work.steps), generator=generator).tolist()
        gain = sum(work.improve(work.steps[index]) for index in order)
        if gain <= GAIN * abs(total):
            break
        total += gain
    return work.permutations


class _Matching:
    """Two networks, and the permutations found so far."""

    def __init__(self, symmetry: Symmetry, reference: Mapping[str, Tensor], state: Mapping[str, Tensor]):
        self.symmetry, self.permutations = symmetry, symmetry.identity()
        self.reference = {key: reference[key].double().reshape(symmetry.shape(key)) for key in state}
        self.state = {key: value.double() for key, value in state.items()}
        self.follows = {key: [of for _, of in symmetry.factors(key)] for key in state}
        self.steps: list[Step] = [*((index,) for index in range(len(symmetry.sizes))), *symmetry.nested]

    def product(self, keys: Collection[str]) -> float:
        """Return the inner product of the entries `keys`."""
        moved = ((key, self.symmetry.entry(key, self.state[key], self.permutations)) for key in keys)
        return sum(float((self.reference[key] * value).sum()) for key, value in moved)

    def begin(self) -> None:
        """Match step by step, most evidence first, by entries of which all other units are matched already."""
        before = self.product(self.state)
        inner = {index for pair in self.symmetry.nested for index in pair}
        left = [step for step in self.steps if len(step) > 1 or step[0] not in inner]
        settled: set[int | None] = {None}
        while left:
            keys = {step: self._touched(step, settled | set(step)) for step in left}
            step = max(left, key=lambda step: sum(self.state[key].numel() for key in keys[step]))
            self._set(step, self._proposal(step, keys[step]))
            settled |= set(step)
            left.remove(step)
        if self.product(self.state) < before:
            self.permutations = self.symmetry.identity()

    def improve(self, step: Step) -> float:
        """Match a step's units, all others as they are; return what that gains, and undo it where it loses."""
        keys, old = self._touched(step), [self.permutations[index] for index in step]
        before = self.product(keys)
        self._set(step, self._proposal(step, keys))
        gain = self.product(keys) - before
        if gain > 0:  # with a permutation on two axes of a tensor the assignment is no sure gain
            return gain
        self._set(step, old)
        return 0.0

    def _touched(self, step: Step, within: Collection[int | None] | None = None) -> list[str]:
        """Return the entries that a step moves; of these, those that no permutation but `within` moves."""
        touched = [key for key, follows in self.follows.items() if not set(follows).isdisjoint(step)]
        return touched if within is None else [key for key in touched if set(self.follows[key]) <= set(within)]

    def _set(self, step: Step, permutations: list[Tensor]) -> None:
        for index, permutation in zip(step, permutations, strict=True):
            self.permutations[index] = permutation

    def _proposal(self, step: Step, keys: Collection[str]) -> list[Tensor]:
        similarity = self._similarity(step, keys)
        return [assigned(similarity)] if len(step) == 1 else nested(similarity)

    def _similarity(self, step: Step, keys: Collection[str]) -> Tensor:
        """Return what it adds to put units j of `state` in the place of units i, `[*n, *n]`."""
        sizes = [self.symmetry.sizes[index] for index in step]
        total = torch.zeros(*sizes, *sizes, dtype=torch.float64)
        for key in keys:
            value = self.symmetry.entry(key, self.state[key], self.permutations)
            for axes in self._places(step, self.follows[key]):
                back = value  # the permutation may stand on two axes of a tensor: only this one is put back
                for index, axis in zip(step, axes, strict=True):
                    back = back.index_select(axis, self.permutations[index].argsort())
                to = range(len(axes))
                ours, theirs = (
                    side.movedim(axes, tuple(to)).flatten(0, to[-1]) for side in (self.reference[key], back)
                )
                total += (ours.flatten(1) @ theirs.flatten(1).T if ours.dim() > 1 else ours.outer(theirs)).view_as(
                    total
                )
        return total

    @staticmethod
    def _places(step: Step, follows: list[int | None]) -> list[tuple[int, ...]]:
        """Return the axes at which a step's permutations stand, one after the other."""
        ends = range(len(follows) - len(step) + 1)
        return [tuple(range(i, i + len(step))) for i in ends if tuple(follows[i : i + len(step)]) == step]


def assigned(similarity: Tensor) -> Tensor:
    """Return the permutation that maximises the sum of `similarity[i, permutation[i]]`."""
    from scipy.optimize import linear_sum_assignment

    return torch.from_numpy(linear_sum_assignment(similarity.numpy(), maximize=True)[1])


def nested(similarity: Tensor) -> list[Tensor]:
    """Return permutations (heads, channels) for `similarity[head, channel, head, channel]`.

    The channels are matched for each pair of heads, the heads for each such matching, and the best is taken: exact
    where one network is a permuted copy of the other.
    """
    heads = range(len(similarity))
    best, permutations = -torch.inf, []
    for channels in (assigned(similarity[i, :, j]) for i in heads for j in heads):
        index = channels[None, :, None, None].expand(len(heads), -1, len(heads), 1)
        between_heads = similarity.gather(3, index).sum(dim=(1, 3))
        permutation = assigned(between_heads)
        value = float(between_heads[heads, permutation].sum())
        if value > best:
            best, permutations = value, [permutation, channels]
    return permutations

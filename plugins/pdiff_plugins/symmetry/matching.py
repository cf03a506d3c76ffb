"""Matching: the order of one network's hidden units that is nearest to another's (git re-basin's weight matching).

Ainsworth et al. 2023, arXiv 2209.04836, algorithm 1, which finds a local optimum; two things are ours. It begins with
the units that weights of matched units alone can tell, from the inputs inwards. And an attention's heads and the
channels within them, of which neither can be matched without the other, are matched together.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

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
    total = work.begin()
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
        self.follows = {key: [of for _, of in symmetry.factors(key)] for key in state}
        shapes = {key: symmetry.shape(key) for key in state}
        self.reference = {key: reference[key].double().reshape(shape) for key, shape in shapes.items()}
        self.state = {key: state[key].double().reshape(shape) for key, shape in shapes.items()}
        self.steps: list[Step] = [*((index,) for index in range(len(symmetry.sizes))), *symmetry.nested]

    def product(self, keys: Collection[str]) -> float:
        """Return the inner product of the entries `keys`."""
        return sum(float((self.reference[key] * self._moved(key)).sum()) for key in keys)

    def _moved(self, key: str, but: Collection[int] = ()) -> Tensor:
        """Return an entry with its units reordered, but those of some axes."""
        value = self.state[key]
        for axis, of in enumerate(self.follows[key]):
            if of is not None and axis not in but:
                value = value.index_select(axis, self.permutations[of])
        return value

    def begin(self) -> float:
        """Match step by step, most evidence first, by entries of which all other units are matched already.

        Return the inner product; where that is less than it was, nothing is reordered.
        """
        before = self.product(self.state)
        inner = {index for pair in self.symmetry.nested for index in pair}
        left = [step for step in self.steps if len(step) > 1 or step[0] not in inner]
        settled: set[int | None] = {None}
        while left:
            keys = {step: self._telling(step, settled | set(step)) for step in left}
            step = max(left, key=lambda step: sum(self.state[key].numel() for key in keys[step]))
            similarity = self._similarity(step, keys[step])
            self._set(step, assigned(similarity) if len(step) == 1 else nested(similarity))
            settled |= set(step)
            left.remove(step)
        after = self.product(self.state)
        if after < before:
            self.permutations = self.symmetry.identity()
        return max(before, after)

    def _telling(self, step: Step, within: Collection[int | None]) -> list[str]:
        """Return the entries that tell a step's units; those on two axes of which they stand only where no other does.

        With either axis in the wrong order such an entry tells nothing of the other.
        """
        touched = self._touched(step, within)
        return [key for key in touched if self._once(step, key)] or touched

    def improve(self, step: Step) -> float:
        """Match a step's units, all others as they are; return what that gains, and undo it where it loses."""
        keys, old = self._touched(step), [self.permutations[index] for index in step]
        similarity = self._similarity(step, keys)
        self._set(step, assigned(similarity) if len(step) == 1 else nested(similarity))
        new = [self.permutations[index] for index in step]
        if all(self._once(step, key) for key in keys):
            gain = _value(similarity, new) - _value(similarity, old)
        else:  # with a permutation on two axes of a tensor the assignment is no sure gain
            gain = self.product(keys)
            self._set(step, old)
            gain -= self.product(keys)
            self._set(step, new)
        if gain > 0:
            return gain
        self._set(step, old)
        return 0.0

    def _once(self, step: Step, key: str) -> bool:
        """Return whether the units stand on one axis, or two that are nested, of an entry."""
        return sum(of in step for of in self.follows[key]) == len(step) and len(self._places(step, key)) == 1

    def _touched(self, step: Step, within: Collection[int | None] | None = None) -> list[str]:
        """Return the entries that a step moves; of these, those that no permutation but `within` moves."""
        touched = [key for key, follows in self.follows.items() if not set(follows).isdisjoint(step)]
        return touched if within is None else [key for key in touched if set(self.follows[key]) <= set(within)]

    def _set(self, step: Step, permutations: list[Tensor]) -> None:
        for index, permutation in zip(step, permutations, strict=True):
            self.permutations[index] = permutation

    def _similarity(self, step: Step, keys: Collection[str]) -> Tensor:
        """Return what it adds to put units j of `state` in the place of units i, `[*n, *n]`."""
        sizes = [self.symmetry.sizes[index] for index in step]
        total = torch.zeros(*sizes, *sizes, dtype=torch.float64)
        for key in keys:
            for axes in self._places(step, key):  # it may stand on two axes of a tensor: one at a time
                to = range(len(axes))
                sides = (self.reference[key], self._moved(key, axes))
                ours, theirs = (side.movedim(axes, tuple(to)).reshape(math.prod(sizes), -1) for side in sides)
                total += (ours @ theirs.T).view_as(total)
        return total

    def _places(self, step: Step, key: str) -> list[tuple[int, ...]]:
        """Return the axes of an entry at which a step's permutations stand, one after the other."""
        follows = self.follows[key]
        ends = range(len(follows) - len(step) + 1)
        return [tuple(range(i, i + len(step))) for i in ends if tuple(follows[i : i + len(step)]) == step]


def _value(similarity: Tensor, permutations: Sequence[Tensor]) -> float:
    """Return what the permutations add."""
    places = [torch.arange(len(permutation)) for permutation in permutations]
    index = torch.meshgrid(*places, indexing="ij") + torch.meshgrid(*permutations, indexing="ij")
    return float(similarity[index].sum())


def assigned(similarity: Tensor) -> list[Tensor]:
    """Return the permutation that maximises the sum of `similarity[i, permutation[i]]`."""
    from scipy.optimize import linear_sum_assignment

    return [torch.from_numpy(linear_sum_assignment(similarity.numpy(), maximize=True)[1])]


def nested(similarity: Tensor) -> list[Tensor]:
    """Return permutations (heads, channels) for `similarity[head, channel, head, channel]`.

    The channels are matched for each pair of heads, the heads for each such matching, and the best is taken: exact
    where one network is a permuted copy of the other.
    """
    heads = range(len(similarity))
    best, permutations = -torch.inf, []
    for (channels,) in (assigned(similarity[i, :, j]) for i in heads for j in heads):
        index = channels[None, :, None, None].expand(len(heads), -1, len(heads), 1)
        between_heads = similarity.gather(3, index).sum(dim=(1, 3))
        (permutation,) = assigned(between_heads)
        value = float(between_heads[heads, permutation].sum())
        if value > best:
            best, permutations = value, [permutation, channels]
    return permutations

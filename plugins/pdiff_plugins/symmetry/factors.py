"""Factors: what an axis of a tensor is made of, and which permutation each factor follows.

An axis is a product of factors, the slowest first, as a reshape would part it: 96 channels that are 3 x 4 heads x 8
are three factors. Each is permuted by itself, or fixed. Axes that must move together share their factors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class Factor:
    """Of `size` units that are reordered together; `replaced_by` stands for it once it was joined or parted."""

    size: int
    fixed: bool = False
    replaced_by: tuple[Factor, ...] = ()


Axis = tuple[Factor, ...]
"""Empty where the axis has length 1."""
Axes = tuple[Axis, ...]


def free(shape: Sequence[int]) -> Axes:
    """Return new axes, each permuted by itself."""
    return tuple((Factor(int(size)),) if size > 1 else () for size in shape)


def still(shape: Sequence[int]) -> Axes:
    """Return new axes that nothing permutes."""
    return tuple((Factor(int(size), fixed=True),) if size > 1 else () for size in shape)


def root(axis: Axis) -> Axis:
    """Return an axis by the factors that stand for its own now."""
    out: list[Factor] = []
    for factor in axis:
        if factor.replaced_by:
            factor.replaced_by = root(factor.replaced_by)
        out += factor.replaced_by or (factor,)
    return tuple(out)


def every(labels: Any) -> list[Factor]:
    """Return all factors of nested labels."""
    if isinstance(labels, Factor):
        return [labels]
    return [factor for label in labels for factor in every(label)] if isinstance(labels, tuple | list) else []


def fix(labels: Any) -> None:
    """Let nothing permute these axes."""
    for factor in root(tuple(every(labels))):
        factor.fixed = True


def _divide(factor: Factor, major: int) -> None:
    """Part a factor in two: `major` blocks of equal size are permuted, and the units in all blocks alike."""
    factor.replaced_by = (Factor(major, factor.fixed), Factor(factor.size // major, factor.fixed))


def tie(a: Axis, b: Axis) -> None:
    """Let two axes of one length follow the same permutations, as far as their factors match; fix the others."""
    a, b = root(a), root(b)
    while a and b:
        ours, theirs = sorted((a[0], b[0]), key=lambda factor: factor.size)
        if theirs.size % ours.size:
            fix((a, b))
            return
        if theirs.size > ours.size:
            _divide(theirs, ours.size)
        elif ours is not theirs:
            ours.fixed |= theirs.fixed
            theirs.replaced_by = (ours,)
        if theirs.size == ours.size:
            a, b = a[1:], b[1:]
        a, b = root(a), root(b)


def tie_all(axes: Sequence[Axis], others: Sequence[Axis]) -> None:
    """Tie axes pair by pair."""
    for a, b in zip(axes, others, strict=True):
        tie(a, b)


def take(axis: Axis, size: int) -> tuple[Axis, Axis] | None:
    """Part an axis in its slowest `size` places and the rest; None where its factors do not allow it."""
    taken: list[Factor] = []
    axis = root(axis)
    while size > 1:
        if not axis:
            return None
        if axis[0].size > size and not axis[0].size % size:
            _divide(axis[0], size)
            axis = root(axis)
        if size % axis[0].size:
            return None
        taken.append(axis[0])
        size //= axis[0].size
        axis = axis[1:]
    return tuple(taken), axis


def reshaped(axes: Axes, before: Sequence[int], after: Sequence[int]) -> Axes:
    """Return the axes of a tensor of shape `before` that is read as shape `after`; what cannot be told is fixed."""
    out: list[Axis] = []
    left = list(zip(axes, before, strict=True))
    while len(out) < len(after):
        joined, size, sizes = _group(left, after[len(out) :])
        out += _divided(joined, size, sizes)
    return tuple(out)


def _group(left: list[tuple[Axis, int]], after: Sequence[int]) -> tuple[Axis, int, list[int]]:
    """Take the fewest axes off `left` that hold as many entries as the fewest of `after`, joined."""
    joined: Axis = ()
    size, sizes, wanted = 1, [after[0]], after[0]
    while size != wanted:
        if size < wanted:
            axis, length = left.pop(0)
            joined, size = joined + axis, size * length
        else:
            sizes.append(after[len(sizes)])
            wanted *= sizes[-1]
    return joined, size, sizes


def _divided(axis: Axis, size: int, sizes: Iterable[int]) -> list[Axis]:
    """Part a joined axis in axes of the given sizes, or fix it."""
    out, rest = [], axis
    for length in sizes:
        taken = take(rest, length)
        if taken is None:
            fix(axis)
            return list(still(list(sizes)))
        out.append(taken[0])
        rest = taken[1]
    return out

"""Scales: by which positive numbers the elements of a tensor are multiplied, as logarithms that are not known yet.

A tensor's label is a sum of terms; each has a shape that spreads over the tensor's, of length 1 along every axis on
which it does not depend. Two labels that are said to be equal tie their unknowns; what cannot be told becomes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Product = tuple[int, float]
"""An unknown and the power that it stands in."""


@dataclass(frozen=True, eq=False)
class Term:
    """Of each element the unknown, and its power."""

    unknown: Array
    power: Array

    @property
    def axes(self) -> tuple[int, ...]:
        """Those on which it depends."""
        return tuple(axis for axis, size in enumerate(self.unknown.shape) if size > 1)

    def moved(self, change: Callable[[Array], Array]) -> Term:
        """Return its elements in other places."""
        return Term(change(self.unknown), change(self.power))

    def products(self) -> list[Product]:
        return list(zip(self.unknown.ravel().tolist(), self.power.ravel().tolist(), strict=True))


Label = tuple[Term, ...]


def moved(label: Label, change: Callable[[Array], Array]) -> Label:
    return tuple(term.moved(change) for term in label)


def to_power(label: Label, power: float) -> Label:
    return tuple(Term(term.unknown, power * term.power) for term in label)


def parted(label: Label, choose: Callable[[tuple[int, ...]], bool]) -> tuple[Label, Label]:
    """Return the terms whose axes are chosen, and the others."""
    return tuple(t for t in label if choose(t.axes)), tuple(t for t in label if not choose(t.axes))


def led(label: Label, ndim: int) -> Label:
    """Return a label with axes of length 1 in front, `ndim` in all."""
    return moved(label, lambda array: array.reshape((1,) * (ndim - array.ndim) + array.shape))


def flat(label: Label) -> Label:
    """Return a label along its one axis."""
    return moved(label, lambda array: array.reshape(-1))


def read_as(label: Label, before: Sequence[int], after: Sequence[int]) -> Label:
    """Return the label of a tensor of shape `before` that is read as shape `after`."""
    return moved(label, lambda array: _read_as(array, list(before), list(after)))


def _read_as(array: Array, before: list[int], after: list[int]) -> Array:
    """Spread it only over axes that are joined with one on which it depends."""
    whole, out = list(array.shape), list[int]()
    at = 0
    while len(out) < len(after):
        stop, size, sizes = at, 1, [after[len(out)]]
        while size != prod(sizes):
            if size < prod(sizes):
                size, stop = size * before[stop], stop + 1
            else:
                sizes.append(after[len(out) + len(sizes)])
        varies = any(length > 1 for length in array.shape[at:stop])
        whole[at:stop] = before[at:stop] if varies else array.shape[at:stop]
        out += sizes if varies else [1] * len(sizes)
        at = stop
    return np.broadcast_to(array, whole).reshape(out)


class Scales:
    """Unknowns, of which some are multiples of others; unknown 0 is nothing."""

    def __init__(self) -> None:
        self._of, self._times = [0], [1.0]
        self._sums: list[list[Product]] = []

    def new(self, shape: Sequence[int]) -> Term:
        """Return an unknown for each element."""
        unknown = len(self._of) + np.arange(prod(shape))
        self._of += unknown.tolist()
        self._times += [1.0] * len(unknown)
        return Term(unknown.reshape(shape), np.ones(shape))

    def root(self, unknown: int) -> Product:
        """Return the unknown of which this is a multiple, the first of all these, and by what."""
        path: list[int] = []
        while self._of[unknown] != unknown:
            path.append(unknown)
            unknown = self._of[unknown]
        times = 1.0
        for step in reversed(path):
            times *= self._times[step]
            self._of[step], self._times[step] = unknown, times
        return unknown, times

    def fix(self, label: Label) -> None:
        """Let these be nothing."""
        for term in label:
            for unknown, _ in term.products():
                self._tie(unknown, 1.0, 0, 1.0)

    def _tie(self, a: int, x: float, b: int, y: float) -> None:
        """Let x times a be y times b."""
        (a, p), (b, q) = self.root(a), self.root(b)
        x, y = x * p, y * q
        if a == b:
            if x != y:
                self._of[a] = 0
        elif a > b:
            self._of[a], self._times[a] = b, y / x
        else:
            self._of[b], self._times[b] = a, x / y

    def equal(self, a: Label, b: Label) -> None:
        """Let two labels of one shape be equal, separately in the terms of the same axes."""
        terms = (*a, *to_power(b, -1))
        for axes in {term.axes for term in terms}:
            alike = [term.products() for term in terms if term.axes == axes]
            for products in zip(*alike, strict=True):
                self._vanish(list(products))

    def one(self, term: Term) -> None:
        """Let a term be the same for all elements."""
        first, *others = term.products()
        for other in others:
            self._tie(*other, *first)

    def _vanish(self, products: list[Product]) -> bool:
        """Let a sum be nothing; keep it where it has more than two unknowns; return whether it had not."""
        total: dict[int, float] = {}
        for unknown, power in products:
            root, times = self.root(unknown)
            if root:
                total[root] = total.get(root, 0.0) + power * times
        left = [(root, power) for root, power in total.items() if power]
        if len(left) > 2:
            self._sums.append(left)
        elif left:
            (a, x), (b, y) = left if len(left) == 2 else (left[0], (0, 1.0))
            self._tie(a, x, b, -y)
        return len(left) <= 2

    def settle(self) -> None:
        """Work out the sums that were kept; where none can be, the unknown that stands in most of them is nothing."""
        while self._sums:
            sums, self._sums = self._sums, []
            if not any([self._vanish(products) for products in sums]):
                counts = Counter(unknown for products in self._sums for unknown, _ in products)
                self._tie(max(counts, key=lambda unknown: counts[unknown]), 1.0, 0, 1.0)

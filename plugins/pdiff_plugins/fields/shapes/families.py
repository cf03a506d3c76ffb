"""Solids of three families by their sizes, and what is said of them: numbers, words and sentences. z is up."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdiff.errors import UserError
from pdiff_plugins.fields.shapes.polygons import Random
from pdiff_plugins.fields.shapes.sentences import described
from pdiff_plugins.fields.shapes.solids import Solid, mug, table, torus, turned

KINDS = ("table", "ring", "mug")
SIZES: dict[str, dict[str, tuple[float, float]]] = {
    "table": {
        "width": (0.55, 0.75), "depth": (0.4, 0.6), "height": (0.45, 0.65), "top": (0.08, 0.11), "legs": (0.1, 0.13),
        "inset": (0, 0.05),
    },
    "ring": {"width": (0.45, 0.62), "thickness": (0.15, 0.26)},
    "mug": {
        "width": (0.38, 0.5), "height": (0.45, 0.62), "wall": (0.12, 0.15), "handle": (0.5, 0.65), "grip": (0.8, 0.95)
    },
}  # fmt: skip
"""Of each family its sizes, and between what they lie where they are drawn from a continuum.

All are halves, but a table's inset and a mug's wall, handle (radius, as a share of `height`) and grip (half of the
handle's thickness, as a share of `wall`). A ring's width is that of the circle in the middle of its tube.
"""
STEPPED: dict[str, dict[str, tuple[float, float]]] = {
    "table": {"width": (0.45, 0.85), "depth": (0.35, 0.7), "height": (0.3, 0.75), "legs": (0.06, 0.15)},
    "ring": {"width": (0.38, 0.64), "thickness": (0.1, 0.3)},
    "mug": {"width": (0.28, 0.5), "height": (0.38, 0.72), "handle": (0.4, 0.7)},
}
"""The sizes that words are about, and between what they lie in steps, further apart so that words can be seen."""


@dataclass(frozen=True)
class Described:
    """One solid of a family, by its sizes (see `SIZES`)."""

    kind: str
    sizes: Mapping[str, float]

    def solid(self) -> Solid:
        """Return its signed distance."""
        size = self.sizes
        if self.kind == "table":
            return table(*(size[name] for name in SIZES["table"]))
        if self.kind == "ring":
            return lambda points_P3: torus(points_P3, size["width"], size["thickness"])
        wall, ring = size["wall"], size["height"] * size["handle"]
        return mug(size["width"], size["height"], wall, ring, wall * size["grip"])

    def numbers(self) -> dict[str, float]:
        """Return numbers that every family has: sides of its box without a handle, thickness, and the handle's reach.

        The thickness is that of a table's legs, a ring's tube, a mug's wall; no handle reaches 0.
        """
        size = self.sizes
        if self.kind == "table":
            given = size["width"], size["depth"], size["height"], size["legs"], 0.0
        elif self.kind == "ring":
            outer = size["width"] + size["thickness"]
            given = outer, outer, size["thickness"], size["thickness"], 0.0
        else:
            given = size["width"], size["width"], size["height"], size["wall"] / 2, size["height"] * size["handle"] / 2
        return dict(zip(("width", "depth", "height", "thickness", "handle"), (2 * each for each in given), strict=True))

    def about(self, levels: int) -> dict[str, Any]:
        """Return what a network of it is about; `levels`: in how many steps its sizes were drawn, 0 for none."""
        ranges = STEPPED[self.kind] if levels else SIZES[self.kind]
        shares = {name: _share(self.sizes[name], *ranges[name]) for name in STEPPED[self.kind]}
        text, wordings = described(self.kind, shares)
        return {"label": self.kind, "kind": self.kind, **self.numbers(), "text": text, "wordings": wordings}


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low)


def solids(
    count: int, generator: torch.Generator, levels: int = 0, turn: bool = True
) -> tuple[list[Solid], list[Described]]:
    """Return random solids within -1..1, and what they are, a family after the other as long as each has more.

    With `levels`, the sizes that words are about have so many values each, all others stay, and no two solids are alike
    (but for turns). Raises UserError where there are not so many.
    """
    random = Random(generator)
    stepped = _stepped(count, levels, generator) if levels else []
    placed, told = [], []
    for number in range(count):
        one = stepped[number] if levels else _drawn(KINDS[number % len(KINDS)], random)
        told.append(one)
        placed.append(turned(one.solid(), random) if turn else one.solid())
    return placed, told


def labels(told: list[Described]) -> Tensor:
    """Return the number of each one's family, `[S]`: 0 table, 1 ring, 2 mug."""
    return torch.tensor([KINDS.index(one.kind) for one in told])


def _drawn(kind: str, random: Random) -> Described:
    return Described(kind, {name: random.between(*ends) for name, ends in SIZES[kind].items()})


def _stepped(count: int, levels: int, generator: torch.Generator) -> list[Described]:
    """Return so many different solids, their sizes in steps."""
    every = [_every(kind, levels) for kind in KINDS]
    total = sum(map(len, every))
    if count > total:
        raise UserError(f"dataset.count: with levels = {levels} there are {total} shapes, fewer than {count}; lower it")
    mixed = [[of_kind[at] for at in torch.randperm(len(of_kind), generator=generator)] for of_kind in every]
    rounds = itertools.zip_longest(*mixed)
    return [one for one in itertools.chain.from_iterable(rounds) if one is not None][:count]


def _every(kind: str, levels: int) -> list[Described]:
    """Return all of a family whose sizes are in the middles of so many steps."""
    middle = {name: math.fsum(ends) / 2 for name, ends in SIZES[kind].items()}
    steps = {
        name: [low + (high - low) * (step + 0.5) / levels for step in range(levels)]
        for name, (low, high) in STEPPED[kind].items()
    }
    return [
        Described(kind, middle | dict(zip(steps, values, strict=True))) for values in itertools.product(*steps.values())
    ]

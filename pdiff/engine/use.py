"""Use: which of the collected checkpoints a run uses, and in which form: cut, held out, aligned, copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.recipe.tables import Zoo as Settings
from pdiff.symmetry.align import align
from pdiff.symmetry.permutations import Symmetry
from pdiff.zoo import Zoo


@dataclass
class Used:
    """The zoo in use; `of`: the collected checkpoint that each row comes from; what is held out, theta_HD and rows."""

    zoo: Zoo
    of: list[int]
    holdout_HD: Tensor
    holdout_rows: list[dict[str, Any]]


def used(zoo: Zoo, settings: Settings, symmetry: Callable[[str], Symmetry], ctx: Context) -> Used:
    """Return the zoo as `[zoo]` asks for it: cut first, then held out, aligned, and copied last.

    `symmetry` finds the permutations within the selection, for the key that asks for them. Raises UserError.
    """
    chosen = _first(zoo, settings.first)
    if settings.largest:
        chosen = _small(zoo, chosen, settings.largest, ctx)
    held = held_out([zoo.rows[index] for index in chosen], settings.holdout, ctx.generator("holdout"))
    out, of = [chosen[place] for place in held], [c for place, c in enumerate(chosen) if place not in held]
    kept = Zoo(zoo.theta_ND[of], zoo.layout, dict(zoo.anchor), [zoo.rows[index] for index in of])
    own = Used(kept, of, zoo.theta_ND[out], [zoo.rows[index] for index in out])
    if settings.align:
        own.holdout_HD = align(own.zoo, own.holdout_HD, symmetry("zoo.align"), ctx)
    if settings.permuted:
        copies = settings.permuted
        own.zoo = with_copies(own.zoo, copies, symmetry(f"zoo.permuted = {copies}"), ctx)
        own.of *= copies + 1
    return own


def _first(zoo: Zoo, first: int) -> list[int]:
    if first > len(zoo):
        raise UserError(f"zoo.first = {first}: only {len(zoo)} checkpoints are collected; set it to at most {len(zoo)}")
    count = first or len(zoo)
    return list(range(count)) if count > 1 else [0, 0]


def _small(zoo: Zoo, chosen: list[int], largest: float, ctx: Context) -> list[int]:
    """Return the checkpoints of runs in which no weight exceeds `largest`. Raises UserError where fewer than two do."""
    size_N = zoo.theta_ND[chosen].abs().amax(dim=1).tolist()
    lost = {zoo.rows[index]["run"] for index, size in zip(chosen, size_N, strict=True) if size > largest}
    kept = [index for index in chosen if zoo.rows[index]["run"] not in lost]
    if len(kept) < 2:
        raise UserError(f"zoo.largest = {largest:g}: a weight is larger in all runs but {len(kept)}; raise it")
    if lost:
        ctx.warn(f"zoo.largest = {largest:g}: {len(lost)} runs have a larger weight and are left out whole")
    return kept


def held_out(rows: Sequence[Mapping[str, Any]], count: int, generator: torch.Generator) -> list[int]:
    """Draw `count` rows, whole runs as far as they fit in. Raises UserError where fewer than two would remain."""
    if count and len(rows) - count < 2:
        most = max(len(rows) - 2, 0)
        raise UserError(f"zoo.holdout = {count}: of {len(rows)} checkpoints 2 must remain; set it to at most {most}")
    runs: dict[Any, list[int]] = {}
    for place, row in enumerate(rows):
        runs.setdefault(row["run"], []).append(place)
    drawn, held, rest = list(runs.values()), list[int](), list[int]()
    for index in torch.randperm(len(drawn), generator=generator).tolist():
        if len(drawn[index]) <= count - len(held):
            held += drawn[index]
        else:
            rest = rest or drawn[index]
    order = torch.randperm(len(rest), generator=generator)[: count - len(held)]
    return sorted(held + [rest[place] for place in order])


def with_copies(zoo: Zoo, copies: int, symmetry: Symmetry, ctx: Context) -> Zoo:
    """Return a zoo with further copies of each checkpoint, their units in random orders: the same functions."""
    theta, rows = [zoo.theta_ND], list(zoo.rows)
    for copy in range(1, copies + 1):
        generator = ctx.generator("permuted", copy)
        states = (zoo.layout.tensors(theta_D) for theta_D in zoo.theta_ND)
        moved = (symmetry.permuted(state, symmetry.random(generator)) for state in states)
        theta.append(torch.stack([zoo.layout.vector(state) for state in moved]))
        rows += [row | {"copy": copy} for row in zoo.rows]
    return Zoo(torch.cat(theta), zoo.layout, zoo.anchor, rows)

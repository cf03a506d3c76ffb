"""The gate: what a fitted method can hold of networks of unseen tasks at all, told before it samples any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.components import PARTS, Generator
from pdiff.context import Context
from pdiff.zoo import Zoo

if TYPE_CHECKING:
    from pdiff.engine.bench import RunBench

MOST, EXAMPLES, ENOUGH = 32, 1000, 0.9
"""Own networks of tasks held out that are put through; examples that they are asked; the share of their score below
which it is said."""


@dataclass(frozen=True)
class Held:
    """Own networks of tasks held out; `score` gives each one's score on its task, of some examples."""

    theta_HD: Tensor
    score: Callable[[Tensor], Tensor]

    @cached_property
    def own(self) -> float:
        """Their mean score, which is asked for once for all methods."""
        return self.mean(self.theta_HD)

    def mean(self, theta_HD: Tensor) -> float:
        return float(torch.nanmean(self.score(theta_HD)))


def held_out(zoo: Zoo) -> list[int]:
    """Return the rows of `zoo.holdout` that are put through."""
    return [n for n, row in enumerate(zoo.holdout.rows) if row.get("part") == PARTS[1]][:MOST] if zoo.holdout else []


def gate(generator: Generator, bench: RunBench, ctx: Context) -> dict[str, Any] | None:
    """Return the mean score of held-out tasks' own networks, the one that `Generator.through` leaves, and its share.

    On some examples of the selection split. None where the zoo is no family's, holds no task out, or the method has no
    codec.
    """
    held = bench.held
    through_HD = None if held is None else generator.through(held.theta_HD, bench, ctx)
    if held is None or through_HD is None or not held.own > 0:
        return None
    left = held.mean(through_HD.cpu().float())
    return {"own": held.own, "through": left, "share": left / held.own}


def warning(name: str, told: dict[str, Any], split: str, text: Callable[[float], str]) -> str:
    """Return what a person must know of a gate that holds too little; nothing of another. `text` writes a score."""
    if told["share"] >= ENOUGH:
        return ""
    own, through = text(told["own"]), text(told["through"])
    return f"method {name}: of held-out tasks' own networks ({own}, {split} split) it can hold {through}"

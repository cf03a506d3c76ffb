"""The gate: what a fitted method can hold of networks of unseen tasks at all, told before it samples any."""

from __future__ import annotations

from typing import Any

import torch

from pdiff.bench import Bench
from pdiff.components import PARTS, Family, Generator
from pdiff.context import Context
from pdiff.mapped import take
from pdiff.zoo import Zoo
from pdiff.zoo import about as about_of

MOST, ENOUGH = 32, 0.9
"""Networks of tasks held out that are put through; the share of their score below which it is said."""


def gate(generator: Generator, zoo: Zoo, bench: Bench, ctx: Context) -> dict[str, Any] | None:
    """Return the mean score of held-out tasks' own networks, the one that `Generator.through` leaves, and its share.

    On the selection split. None where the zoo is no family's, holds no task out, or the method has no codec.
    """
    held = zoo.holdout
    rows = [n for n, row in enumerate(held.rows) if row.get("part") == PARTS[1]][:MOST] if held else []
    if held is None or not rows or not isinstance(bench.objective.task, Family):
        return None
    own_HD = take(held.theta_ND, rows, ctx.snapshot.folder)
    through_HD = generator.through(own_HD, bench, ctx)
    if through_HD is None:
        return None
    about = [about_of(held.rows[row]) for row in rows]
    own, left = (float(torch.nanmean(bench.score(theta_HD, about))) for theta_HD in (own_HD, through_HD.cpu().float()))
    return {"own": own, "through": left, "share": left / own} if own > 0 else None


def warning(name: str, told: dict[str, Any], metric: str) -> str:
    """Return what a person must know of a gate that holds too little; nothing of another."""
    if told["share"] >= ENOUGH:
        return ""
    return (
        f"method {name}: networks of held-out tasks score {told['own']:.4g} ({metric}), and {told['through']:.4g} once "
        f"it has put them through itself, {told['share']:.0%}: what it samples for unseen tasks can hardly do better; "
        "learn by the tasks' loss (hypernetwork), or make a zoo whose networks lie nearer together (start, steps)"
    )

"""Prompts where they are hard: repeated, beyond the zoo, from starts of another kind. M starts, D parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdiff.context import Context
from pdiff_plugins.gpt.prompts.asking import SCORED, Asker, number, spread_of

BEYOND = (0.25, 0.5)
"""How far beyond the zoo's best prompts go, in shares of its range."""
FACTOR = 2.0
"""By which the weights of foreign starts are multiplied."""


def probes(asker: Asker, start_MD: Tensor, recursive: int, repeats: int, ctx: Context) -> dict[str, Any]:
    """Return `recursion`, `foreign`, `outside` and `repeats`."""
    return {
        "recursion": _recursion(asker, start_MD, recursive, ctx.scope("recursion")),
        "foreign": _recursion(asker, FACTOR * start_MD, 2, ctx.scope("foreign")),
        "outside": [_outside(asker, start_MD, wanted, ctx) for wanted in beyond(asker)],
        "repeats": _repeats(asker, start_MD[0], repeats, ctx.scope("repeats")),
    }


def _recursion(asker: Asker, theta_MD: Tensor, count: int, ctx: Context) -> dict[str, Any]:
    """Return the metric before and after each of so many updates at the best prompt, and after which it was best."""
    spreads = [spread_of(asker.measured(theta_MD, SCORED))]
    for number_of in range(count):
        theta_MD = asker.ask(theta_MD, asker.best, ctx.scope(f"update {number_of}"))
        spreads.append(spread_of(asker.measured(theta_MD, SCORED)))
    means = torch.tensor([torch.nan if spread["metric"] is None else spread["metric"] for spread in spreads])
    return {"after": spreads, "stop": int(asker.cost(means).argmin())}


def beyond(asker: Asker) -> list[float]:
    """Return prompts that no checkpoint reached; a metric that is nowhere negative is not asked to be."""
    low, high = asker.range
    way = -1 if asker.better == "lower" else 1
    wanted = [asker.best + way * share * (high - low) for share in BEYOND]
    return list(dict.fromkeys(max(value, 0.0) if low >= 0 else value for value in wanted))


def _outside(asker: Asker, start_MD: Tensor, wanted: float, ctx: Context) -> dict[str, Any]:
    got_MD = asker.ask(start_MD, wanted, ctx.scope(f"outside {wanted}"))
    return {"asked": wanted} | spread_of(asker.measured(got_MD, SCORED))


def _repeats(asker: Asker, start_D: Tensor, count: int, ctx: Context) -> dict[str, Any]:
    """Return the mean distance between samples of one start at the best prompt, beside their distance to it."""
    start_MD = start_D.expand(count, -1)
    got_MD = asker.ask(start_MD, asker.best, ctx).double()
    return {
        "count": count, "apart": number(torch.pdist(got_MD).mean()),
        "moved": number((got_MD - start_MD).norm(dim=1).mean()),
    }  # fmt: skip

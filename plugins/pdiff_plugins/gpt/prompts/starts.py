"""Where prompting begins: networks that no method has seen. M starts, D parameters, H held-out checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdiff.context import Context, derive
from pdiff.view import View

HELD_OUT, NEW = "held-out runs", "new initialisations"


@dataclass(frozen=True)
class Starts:
    """Starts by group, and the last checkpoints of the held-out runs among them, in their order."""

    groups: dict[str, Tensor]
    """Name -> theta_MD."""
    last_MD: Tensor | None
    """Of the group `HELD_OUT`, where it is there."""

    @property
    def theta_MD(self) -> Tensor:
        """All of them, group after group."""
        return torch.cat(list(self.groups.values()))

    def parts(self) -> dict[str, slice]:
        """Return where each group stands in `theta_MD`."""
        places, start = dict[str, slice](), 0
        for name, theta_MD in self.groups.items():
            places[name] = slice(start, start + len(theta_MD))
            start += len(theta_MD)
        return places


def unseen(view: View, count: int, ctx: Context) -> Starts:
    """Return at most so many first checkpoints of held-out runs, and so many networks of seeds that no run had."""
    groups, last_MD = dict[str, Tensor](), None
    seen, held_out = {row["run"] for row in view.zoo.rows}, view.zoo.holdout
    if held_out is not None:
        runs = ends((row, index) for index, row in enumerate(held_out.rows) if row["run"] not in seen)
        both = [pair for pair in runs.values() if held_out.rows[pair[0]]["step"] == 0][:count]
        if both:
            groups[HELD_OUT] = held_out.theta_ND[[first for first, _ in both]]
            last_MD = held_out.theta_ND[[last for _, last in both]]
    groups[NEW] = torch.stack([view.bench.start(derive(ctx.seed, "new start", index)) for index in range(count)])
    return Starts(groups, last_MD)


def ends(rows: Iterable[tuple[Mapping[str, Any], int]]) -> dict[Any, tuple[int, int]]:
    """Return run -> the places of its first and last checkpoint, permuted copies left aside."""
    checkpoints = [(row["step"], place, row["run"]) for row, place in rows if not row.get("copy")]
    runs: dict[Any, tuple[int, int]] = {}
    for _, place, run in sorted(checkpoints, key=lambda entry: entry[0]):
        runs[run] = (runs.get(run, (place, place))[0], place)
    return dict(sorted(runs.items()))

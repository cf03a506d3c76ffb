"""Asking a generator for a metric. M networks, D parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdiff.components import Generator
from pdiff.context import Context
from pdiff.view import View

SCORED = "test"
"""The split on which networks are judged."""


@dataclass(frozen=True)
class Asker:
    """A source that takes prompts, with what it is asked for."""

    view: View
    generator: Generator
    better: str
    """`lower` or `higher`."""
    range: tuple[float, float]
    """Of the metric over the zoo, on the selection split."""

    @classmethod
    def of(cls, view: View, source: str) -> Asker:
        generator = view.generators[source]
        measure_N = view.bench.measures()[generator.metric]
        better = view.recipe.task.measures[generator.metric]
        return cls(view, generator, better, (float(measure_N.min()), float(measure_N.max())))

    @property
    def metric(self) -> str:
        return self.generator.metric

    @property
    def best(self) -> float:
        """The zoo's best."""
        return self.range[self.better == "higher"]

    def measured(self, theta_MD: Tensor, split: str = "") -> Tensor:
        """Return the metric of networks on a split (the selection split, unless named), `[M]` in float64."""
        return self.view.bench.measure(theta_MD, split or self.view.selection)[self.metric].double()

    def ask(self, start_MD: Tensor, wanted: Tensor | float, ctx: Context, measure_M: Tensor | None = None) -> Tensor:
        """Return networks theta_MD that were asked to have `wanted` as metric, one number for all or `[M]`."""
        measure_M = self.measured(start_MD) if measure_M is None else measure_M
        wanted_M = torch.as_tensor(wanted, dtype=torch.float64).expand(len(start_MD))
        return self.generator.prompted(start_MD, measure_M, wanted_M, ctx)

    def cost(self, measure: Tensor) -> Tensor:
        """Return the metric so that less is better; what is not finite is worst."""
        cost = measure if self.better == "lower" else -measure
        return cost.nan_to_num(nan=math.inf)

    def as_good(self, a: float | None, b: float | None) -> bool:
        """True where a metric is at least as good as another; None is of a network that diverged."""
        if a is None or b is None:
            return b is None and a is not None
        return a <= b if self.better == "lower" else a >= b


def evenly_chosen(count: int, most: int) -> Tensor:
    """Return at most so many of `count` places, evenly spaced."""
    return torch.linspace(0, count - 1, min(count, most)).round().long()


def number(value: Any) -> float | None:
    """Return a finite number, or None, which JSON can hold."""
    value = float(value)
    return value if math.isfinite(value) else None


def numbers(values: Tensor) -> list[Any]:
    """Return a tensor of one or more dimensions as nested lists of numbers, None for what is not finite."""
    return [numbers(row) if row.ndim else number(row) for row in values]


def spread_of(measure_M: Tensor) -> dict[str, float | None]:
    """Return mean and standard deviation (population) over networks."""
    return {"metric": number(measure_M.mean()), "std": number(measure_M.std(correction=0))}

"""Reading by units: what the readers that read weights themselves have in common. N networks learnt, M read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff_plugins.reading.learning import Options, Scale, Told, learn
from pdiff_plugins.reading.units import Units, features

Build = Callable[[Units, list[int], list[int]], nn.Module]
"""Makes a network by the units, the numbers that one of each group and the whole hold, and the edges' channels."""


class UnitOptions(Options, Protocol):
    """What readers by units are told."""

    balance: bool
    noise: float


@dataclass(frozen=True)
class ByUnits:
    """What was learnt from what units hold; it reads networks of other widths, too."""

    options: UnitOptions
    bench: Bench
    units: Units
    edges: bool
    """Whether what ties units to units is read as well."""
    scales: list[Scale]
    told: Told

    def read(self, theta_MD: Tensor, bench: Bench) -> Tensor:
        """See `Readout.read`."""
        units = self._units_of(bench)
        if not len(theta_MD):
            return torch.zeros(0, dtype=torch.float64)
        return self.told.tell(_scaled(self.scales, _values(units, theta_MD, self.edges)))

    def _units_of(self, bench: Bench) -> Units:
        if bench is self.bench:
            return self.units
        units = Units(bench, f"reader {self.options.name}", self.options.balance)
        if units.held != self.units.held:
            ours, theirs = dict.fromkeys(self.units.held), dict.fromkeys(units.held)
            other = next(held.key for held in (*theirs, *ours) if held not in ours or held not in theirs)
            raise UserError(
                f"reader {self.options.name}: it reads networks that differ from those it learnt in the widths of "
                f"hidden layers alone, and their {other!r} differs in more; use networks of the same layers, inputs "
                "and outputs"
            )
        return units


def learn_units(
    options: UnitOptions, build: Build, theta_ND: Tensor, value_N: Tensor, bench: Bench, ctx: Context,
    edges: bool = False,
) -> ByUnits:  # fmt: skip
    """Learn from what units hold. Raises UserError where there is no graph, or no unit that can be reordered."""
    units = Units(bench, f"reader {options.name}", options.balance)
    values = _values(units, theta_ND, edges)
    scales = [Scale.of(value, tuple(range(value.dim() - 1))) for value in values]
    sizes = [value.shape[-1] for value in values]
    held, channels = sizes[: units.groups + 1], sizes[units.groups + 1 :]
    told = learn(
        lambda: build(units, held, channels), _scaled(scales, values), value_N, options, ctx, options.noise
    )  # fmt: skip
    return ByUnits(options, bench, units, edges, scales, told)


def _values(units: Units, theta_MD: Tensor, edges: bool) -> list[Tensor]:
    tensors = units.tensors(theta_MD)
    between = [value for held, value in zip(units.held, tensors, strict=True) if len(held.groups) > 1]
    return features(units, tensors) + (between if edges else [])


def _scaled(scales: list[Scale], values: list[Tensor]) -> list[Tensor]:
    return [scale(value) for scale, value in zip(scales, values, strict=True)]

"""What tells a property of networks from their weights alone."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Protocol

from pdiff.components.base import Component

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context


class Readout(Protocol):
    """A fitted reader."""

    def read(self, theta_MD: Tensor, bench: Bench) -> Tensor:
        """Return the property of networks as their weights tell it, `[M]` in float64, on the CPU.

        `bench` is theirs, and may be another run's than the one that was fitted on. Raises UserError, in one line,
        where the reader cannot read networks of that layout.
        """
        ...


class WeightReader(Component):
    """Learns from a zoo to tell a property of a network, such as its score, from its weights."""

    kind: ClassVar[str] = "reader"

    @abstractmethod
    def fit(self, theta_ND: Tensor, value_N: Tensor, bench: Bench, ctx: Context) -> Readout:
        """Learn networks theta_ND, in the original scale, and the property of each, `[N]` in float64."""

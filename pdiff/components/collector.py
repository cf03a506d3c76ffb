"""Where checkpoints come from."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pdiff.components.base import Component

if TYPE_CHECKING:
    from torch import nn

    from pdiff.bench import Bench
    from pdiff.components.task import Task
    from pdiff.context import Context
    from pdiff.data import DatasetSplits
    from pdiff.zoo import Layout, Zoo


class Collector(Component):
    """Makes checkpoints."""

    kind: ClassVar[str] = "collector"
    elsewhere: ClassVar[bool] = False
    """Whether the checkpoints were made outside of this run, which then cannot know what they were trained on."""

    def expected(self) -> int | None:
        """Return how many checkpoints there will be; None where that cannot be known before."""
        return None

    @abstractmethod
    def collect(
        self, model: nn.Module, *, data: DatasetSplits, task: Task, layout: Layout, bench: Bench, ctx: Context
    ) -> Zoo:
        """Return the zoo. `model` is the base network; the collector may change it. Resumes from `ctx.snapshot`."""

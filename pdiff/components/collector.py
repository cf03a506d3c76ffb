"""Where checkpoints come from."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pdiff.components.base import Component
from pdiff.components.family import Family

if TYPE_CHECKING:
    from torch import nn

    from pdiff.bench import Bench
    from pdiff.components.ahead import Ahead
    from pdiff.components.task import Task
    from pdiff.context import Context
    from pdiff.data import DatasetSplits
    from pdiff.zoo import Layout, Zoo


class Collector(Component):
    """Makes checkpoints."""

    kind: ClassVar[str] = "collector"
    elsewhere: ClassVar[bool] = False
    """Whether the checkpoints were made outside of this run, which then cannot know what they were trained on."""

    of_families: ClassVar[bool] = False
    """Whether its rows say what each network is for, as a family of tasks needs (`pdiff.components.Family`)."""

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        if isinstance(ahead.recipe.task, Family) and not self.of_families:
            ahead.lacks(
                f"{ahead.key}: {self.name} trains all networks for one thing, and of task {ahead.recipe.task.name} "
                "each has its own; use the collector 'tasks'"
            )

    def expected(self) -> int | None:
        """Return how many checkpoints there will be; None where that cannot be known before."""
        return None

    def examples(self, train: int) -> int | None:
        """Return how many training examples collecting reads, each as often as a network is moved by it.

        `train`: examples of the train split. None where the collector cannot know.
        """
        return None

    @abstractmethod
    def collect(
        self, model: nn.Module, *, data: DatasetSplits, task: Task, layout: Layout, bench: Bench, ctx: Context
    ) -> Zoo:
        """Return the zoo. `model` is the base network; the collector may change it. Resumes from `ctx.snapshot`."""

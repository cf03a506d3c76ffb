"""A task that takes an argument: what each network of a zoo is for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.components.task import Task

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components.ahead import Ahead
    from pdiff.context import Context
    from pdiff.data import About, Batch, DatasetSplits, Inputs, Split

PARTS = ("learnt", "held out", "hard")
"""Of the tasks: those that methods learn from, others drawn like them, and others that are harder by design."""
Rival = Callable[[Sequence[Mapping[str, Any]], "Split"], "Tensor"]
"""(tasks, examples of the dataset) -> which examples of each task are answered wrongly, bool `[T, E]`."""


class Family(Task):
    """Many tasks on the same examples: which one, says what a network is about.

    Losses, predictions and scores are those of examples as one task has them (`asked`).
    """

    same_inputs: ClassVar[bool] = True
    """Whether tasks differ in the targets alone, and have all examples of a split in their order; see `alike`."""

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        epochs = ahead.recipe.train.epochs
        if epochs and self.base() is None:
            ahead.lacks(f"train.epochs = {epochs}: no task of {self.name} is the base network's; leave it out")

    @abstractmethod
    def tasks(
        self, counts: Mapping[str, int], data: DatasetSplits, generator: torch.Generator
    ) -> dict[str, list[dict[str, Any]]]:
        """Return tasks by part (`PARTS`), each as its networks' rows are about, as many as `counts` says.

        Of those learnt 0 means all that are left. Raises UserError where there are not so many.
        """

    def check(self, about: About, data: DatasetSplits) -> None:
        """Raise UserError where what a network is about, as others wrote it, is no task; nothing, unless overridden."""

    def alike(self, inputs: Inputs) -> bool:
        """Return whether all tasks have these inputs of the dataset alike; as `same_inputs`, unless overridden."""
        return self.same_inputs

    def together(self, split: Split) -> bool:
        """Return whether all tasks have the inputs of a split of the dataset alike; of one without examples, False."""
        import torch

        return len(split) > 0 and self.alike(split.batch(torch.tensor([0]), torch.device("cpu")).inputs)

    def inputs(self, inputs: Inputs, about: About) -> Inputs:
        """Return the inputs of examples as one task has them, on their device; as they are, unless overridden."""
        return inputs

    def targets(self, targets: Tensor, about: About) -> Tensor:
        """Return the targets of examples as one task has them, on their device; as they are, unless overridden."""
        return targets

    def ask(self, batch: Batch, about: About) -> Batch:
        """Return examples of the dataset as one task has them."""
        return batch._replace(inputs=self.inputs(batch.inputs, about), targets=self.targets(batch.targets, about))

    def asked(self, split: Split, about: About) -> Split:
        """Return a split of the dataset as one task has it."""
        return Asked(split, self, about)

    def asks(self, about: About) -> bool:
        """Return whether it can ask examples for that; not of what a person's words or images alone have told."""
        return True

    def again(self, about: About, number: int) -> About:
        """Return the same task as other examples tell it, another way for each number; as it is, unless overridden."""
        return about

    def base(self) -> About | None:
        """Return the task that base networks are trained for; None: they stay as they are built or loaded."""
        return None

    def of_classes(self, log_probabilities_EK: Tensor, about: About) -> Tensor | None:
        """Return what a network that knows all classes of the dataset predicts for a task, `[E]`; None: nothing."""
        return None

    def rivals(self, bench: Bench, ctx: Context) -> dict[str, Rival]:
        """Return further ways to answer tasks that generate no network, by name."""
        return {}


@dataclass(frozen=True)
class Asked:
    """A split of the dataset as one task of a family has it."""

    of: Split
    family: Family
    about: About

    @property
    def targets(self) -> Tensor:
        return self.family.targets(self.of.targets, self.about)

    def __len__(self) -> int:
        return len(self.of)

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index`; see `pdiff.data.Split`."""
        return self.family.ask(self.of.batch(index, device, augment), self.about)

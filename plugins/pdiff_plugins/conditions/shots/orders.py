"""Tasks of a few classes, whose outputs are in an order of the task's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff.components import PARTS, Family
from pdiff.errors import UserError
from pdiff_plugins.conditions.classes import numbers
from pdiff_plugins.conditions.families.dealing import class_numbers
from pdiff_plugins.tasks.outputs import check_width, whole, within

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead, Rival
    from pdiff.context import Context
    from pdiff.data import About, Batch, DatasetSplits, Split

ABSENT = -100
"""The target of an example whose class is not in the task."""
DRAWS = 2**31
"""Numbers of draws."""
MOST = 2**20
"""Tasks that are counted out where all are asked for."""


class Orders(Family):
    """A few classes to tell apart, each task with its own, in an order of its own.

    A network is about `classes`, one for each output, and about a `draw`, the number of the support examples that tell
    the task (see the encoder `features`). Examples of other classes count in no loss and no score; a split is asked
    about as many examples of each class as its rarest has.
    """

    name = "orders"
    metric = "accuracy"
    unit = "%"
    source: ClassVar[str] = "N-way k-shot tasks: Vinyals et al. 2016, Matching Networks, arXiv 1606.04080, section 4.1"
    same_inputs: ClassVar[bool] = False
    ways: int = Field(5, gt=1, description="classes of a task")
    unseen: tuple[int | str, ...] = Field(
        (), description="classes that no learnt task holds, by number or name; hard tasks hold all of them"
    )
    shots: int = Field(5, gt=0, description="support examples of each class, of the rivals; as many as the encoder's")
    support: Literal["train", "validation"] = Field(
        "train", description="split that the rivals draw them from; as the encoder does"
    )
    metric_steps: int = Field(4000, ge=0, description="training steps of the learned metric among the rivals; 0: none")

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        encoder = ahead.recipe.encoder
        for ours, theirs in (("shots", "shots"), ("support", "split")):
            value = getattr(encoder, theirs, getattr(self, ours))
            if value != getattr(self, ours):
                ahead.lacks(
                    f"{ahead.key}.{ours} = {getattr(self, ours)!r}: encoder.{theirs} is {value!r}, and rivals are to "
                    "have the same examples; write the same"
                )

    def outputs(self, classes: int) -> int:
        return self.ways

    def sides(self, classes: int, names: tuple[str, ...]) -> tuple[list[int], list[int]]:
        """Return the classes of learnt tasks, and those unseen. Raises UserError for too few, or too many."""
        unseen = numbers("task.unseen", self.unseen, classes, names)
        seen = [number for number in range(classes) if number not in unseen]
        if len(seen) < self.ways or len(unseen) > self.ways:
            raise UserError(
                f"task.ways = {self.ways}: task.unseen names {len(unseen)} of {classes} classes; at most {self.ways} "
                f"can be unseen, and {self.ways} others must be left"
            )
        return seen, unseen

    def tasks(
        self, counts: Mapping[str, int], data: DatasetSplits, generator: torch.Generator
    ) -> dict[str, list[dict[str, Any]]]:
        """See `Family.tasks`; each has a draw of its own."""
        from pdiff_plugins.conditions.shots.drawing import tasks

        seen, unseen = self.sides(data.classes or data.outputs, data.names)
        wanted = {part: counts.get(part, 0) for part in PARTS}
        there, kept = math.perm(len(seen), self.ways), wanted["held out"]
        if not wanted["learnt"] and there > MOST:
            raise UserError(f"task.ways = {self.ways}: there are {there:,} orders; say how many are to be learnt")
        wanted["learnt"] = wanted["learnt"] or max(there - kept, 1)
        if wanted["learnt"] + kept > there:
            raise UserError(
                f"task.ways = {self.ways}: {len(seen)} classes have {there:,} orders, and {wanted['learnt']} tasks to "
                f"learn and {kept} held out are asked for; ask for fewer"
            )
        there = math.comb(len(seen), self.ways - len(unseen)) * math.factorial(self.ways) if unseen else 0
        if wanted["hard"] > there:
            raise UserError(
                f"task.unseen names {len(unseen)} classes: {there:,} tasks of {self.ways} ways hold all of them, and "
                f"{wanted['hard']} hard ones are asked for; ask for fewer, or name other classes"
            )
        return tasks(wanted, self.ways, seen, unseen, generator)

    def asks(self, about: About) -> bool:
        return "classes" in about

    def check(self, about: About, data: DatasetSplits) -> None:
        """See `Family.check`."""
        given = class_numbers(about, data.classes or data.outputs)
        if len(given) != self.ways:
            raise UserError(f"classes = {given}: task.ways = {self.ways}; give one class for each output")

    def targets(self, targets: Tensor, about: About) -> Tensor:
        """See `Family.targets`: the number of the output, or -100 for examples of other classes."""
        import torch

        classes_W = torch.tensor(about["classes"], device=targets.device)
        is_EW = targets[..., None] == classes_W
        return torch.where(is_EW.any(dim=-1), is_EW.int().argmax(dim=-1), ABSENT)

    def again(self, about: About, number: int) -> About:
        from pdiff.context import derive

        return {**about, "draw": derive(about["draw"], number) % DRAWS} if "draw" in about else about

    def asked(self, split: Split, about: About) -> Split:
        """See `Family.asked`: the examples of its classes, class after class."""
        from pdiff_plugins.conditions.shots.drawing import of_classes

        return of_classes(split, about["classes"])

    def rivals(self, bench: Bench, ctx: Context) -> dict[str, Rival]:
        """See `Family.rivals`: all are told a task by its support examples."""
        from pdiff_plugins.conditions.shots.rivals import rivals

        return rivals(self, bench, ctx)

    def checked(self, targets: Tensor, outputs: int) -> Tensor:
        """See `Task.checked`: int64 `[E]`."""
        return within(whole(targets.reshape(len(targets))), outputs)

    def check_network(self, model: Any, inputs: Any, outputs: int) -> None:
        check_width(self, model, inputs, outputs)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        from torch.nn.functional import cross_entropy

        total = cross_entropy(model(batch.inputs), batch.targets, ignore_index=ABSENT, reduction="sum")
        return total / (batch.targets != ABSENT).sum().clamp_min(1)

    def predict(self, model: Any, inputs: Any) -> Tensor:
        import torch

        outputs: Tensor = model(inputs)
        return outputs.argmax(dim=1).to(torch.int16)

    def log_probabilities(self, model: Any, inputs: Any) -> Tensor:
        outputs: Tensor = model(inputs)
        return outputs.float().log_softmax(dim=1)

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return (predictions != targets.to(predictions.dtype)) & (targets != ABSENT)

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        counted = (targets != ABSENT).sum().clamp_min(1)
        return 1 - self.wrong(predictions, targets).sum(dim=1).double() / counted

"""The collector of tasks: one network for each task of a family, trained together."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pdiff.components import IF_SET, PARTS, Family, Task
from pdiff.errors import UserError
from pdiff_plugins.batches import examples_read
from pdiff_plugins.collectors.seeds.options import TrainedTogether

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.data import About, DatasetSplits
    from pdiff.zoo import Layout, Zoo


class Tasks(TrainedTogether):
    """One network for each task of a family, trained together.

    Networks of tasks that are held out are trained alike, and no method sees them.
    """

    name = "tasks"
    of_families: ClassVar[bool] = True
    learnt: int = Field(0, ge=0, description="tasks that methods learn from; 0: all that are left")
    held_out: int = Field(0, ge=0, description="tasks held out, drawn as those learnt are")
    hard: int = Field(0, ge=0, description="tasks held out that are harder by design, as the family has them")
    start: Literal["shared", "base", "trunk", "multitask", "independent"] = Field(
        "shared",
        description="where networks begin: shared: all at one new initialisation; base: all at the base network; "
        "trunk: at a network of all classes, but for entries of another shape, which are new and shared; multitask: "
        "at the base network, its selected entries trained on all learnt tasks together; independent: each at its own "
        "initialisation, which asks for a selector that takes everything, or adds adapters",
    )
    trunk_steps: int = Field(1500, gt=0, description="steps in which a trunk is trained")
    start_steps: int = Field(
        600, gt=0, json_schema_extra=IF_SET, description="of start = 'multitask': steps of training on all tasks"
    )
    start_batch: int = Field(
        128, gt=0, json_schema_extra=IF_SET, description="of start = 'multitask': examples per step, of all tasks"
    )
    start_lr: float = Field(
        0.0, ge=0, json_schema_extra=IF_SET, description="of start = 'multitask': learning rate; 0: lr"
    )
    same_batches: bool = Field(True, description="all tasks have the same examples in a step; off: each has its own")
    check: int = Field(
        0, ge=0,
        description="tasks, the first of those learnt, that are trained for twice the steps, too: more than half a "
        "point of accuracy added says that the zoo is not trained to the end",
    )  # fmt: skip

    @model_validator(mode="after")
    def _more_than_one(self) -> Tasks:
        if self.learnt == 1:
            raise PydanticCustomError("learnt", "learnt = 1: methods learn from 2 tasks at least; 0 takes all")
        return self

    def expected(self) -> int | None:
        return self.learnt or None

    def examples(self, train: int) -> int | None:
        """See `Collector.examples`; None where the family says how many tasks there are, or who is asked of what."""
        if not self.learnt:
            return None
        networks, checked = self.learnt + self.held_out + self.hard, min(self.check, self.learnt)
        once, twice = (examples_read(train, self.batch_size, times * self.steps) for times in (1, 2))
        return self.begun + networks * once + checked * twice

    def foresee(self, ahead: Ahead) -> None:
        _require_family(ahead.recipe.task)

    def collect(
        self, model: nn.Module, *, data: DatasetSplits, task: Task, layout: Layout, bench: Bench, ctx: Context
    ) -> Zoo:
        """See `Collector.collect`. Raises UserError where the task is no family, or has not so many tasks."""
        from pdiff_plugins.collectors.tasks.training import KEPT, Together, check

        family = _require_family(task)
        counts = {"learnt": self.learnt, "held out": self.held_out, "hard": self.hard}
        parts = family.tasks(counts, data, ctx.generator("tasks"))
        template, start = self._starts(model, layout, bench, family, parts["learnt"], data, ctx)
        together = Together(self, family, data, layout, template, start, ctx)
        learnt, kept = parts["learnt"], [(part, about) for part in PARTS[1:] for about in parts[part]]
        zoo = together.zoo("learnt", [("learnt", about) for about in learnt])
        if kept:
            zoo.holdout = together.zoo("kept", kept, numbered=len(learnt), seeded=KEPT)
        if self.check:
            check(zoo, together, self.check)
        return zoo

    @property
    def begun(self) -> int:
        """Training examples, counted each time, that the start has seen which all networks share."""
        trunk, common = self.trunk_steps * self.batch_size, self.start_steps * self.start_batch
        return {"trunk": trunk, "multitask": common}.get(self.start, 0)

    def _starts(
        self, model: nn.Module, layout: Layout, bench: Bench, family: Family, learnt: Sequence[About],
        data: DatasetSplits, ctx: Context,
    ) -> tuple[nn.Module, Callable[[int], nn.Module]]:  # fmt: skip
        """Return the network that holds what is not trained, and the one that a run begins with."""
        from pdiff_plugins.collectors.seeds.starts import starts
        from pdiff_plugins.collectors.tasks.classes import trunk
        from pdiff_plugins.collectors.tasks.common import common_start

        if self.start == "multitask":
            network = common_start(
                model, layout, family, learnt, data.train, self.start_steps, self.start_lr or self.lr,
                self.start_batch, self.augment, ctx,
            )  # fmt: skip
        elif self.start == "trunk":
            network = trunk(bench, ctx, self.trunk_steps, self.lr, self.batch_size).to(ctx.device)
        else:
            return starts(self.start, model, layout, bench, ctx)
        return network, lambda run: network


def _require_family(task: Task) -> Family:
    """Return the task. Raises UserError where it is no family."""
    if isinstance(task, Family):
        return task
    raise UserError(
        f"collect: 'tasks' trains a network for each task of a family, and task {task.name!r} is none; take a [task] "
        "such as name = 'subsets' or 'shifts', or the collector 'seeds'"
    )

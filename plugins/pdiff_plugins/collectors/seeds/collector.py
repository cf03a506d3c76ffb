"""The collector of many trainings: networks of different seeds, trained together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pdiff.components import Task
from pdiff.mapped import take
from pdiff_plugins.batches import examples_read
from pdiff_plugins.bits.options import Bits, Keep, Masks, Rewind, Rounds, check_rounds, require_matrices
from pdiff_plugins.collectors.seeds.options import TrainedTogether

if TYPE_CHECKING:
    from torch import nn

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.data import DatasetSplits
    from pdiff.zoo import Layout, Zoo


class Seeds(TrainedTogether):
    """Checkpoints of many short trainings from different seeds, made together."""

    name = "seeds"
    version = 2
    count: int = Field(gt=1, examples=[200], description="runs")
    every: int = Field(0, ge=0, description="save every so many steps, and after the last; 0: after the last alone")
    log_spaced: int = Field(
        0,
        ge=0,
        description="instead of `every`: save at about so many steps, geometrically spaced from 1 to the last",
    )
    include_start: bool = Field(False, description="also save the networks as they begin (step 0)")
    start: Literal["independent", "shared", "base"] = Field(
        "independent",
        description="where runs begin: independent: each at its own initialisation, which asks for a selector that "
        "takes everything, or adds adapters; shared: all at one new initialisation; base: all at the base network",
    )

    bits: Bits = 0
    keep: Keep = 1.0
    masks: Masks = "shared"
    rounds: Rounds = 1
    rewind: Rewind = True

    @model_validator(mode="after")
    def _cuts(self) -> Seeds:
        check_rounds(self.keep, self.masks, self.rounds, self.rewind)
        return self

    @model_validator(mode="after")
    def _one_spacing(self) -> Seeds:
        if self.every and self.log_spaced:
            raise PydanticCustomError("spacing", "every and log_spaced are two ways to choose steps; give one")
        return self

    def saved_steps(self) -> list[int]:
        """Return the numbers of steps after which checkpoints are saved."""
        if self.log_spaced:
            growth = self.steps ** (1 / max(self.log_spaced - 1, 1))
            between = sorted({min(round(growth**power), self.steps) for power in range(self.log_spaced - 1)})
        else:
            between = list(range(self.every, self.steps, self.every)) if self.every else []
        return [*([0] if self.include_start else []), *(step for step in between if step < self.steps), self.steps]

    def expected(self) -> int:
        """Return how many checkpoints there are where no run diverges."""
        return self.count * len(self.saved_steps())

    def examples(self, train: int) -> int:
        ahead = 0 if self.keep == 1 else self.rounds * (self.count if self.masks == "own" else 1)
        return (ahead + self.count) * examples_read(train, self.batch_size, self.steps)

    def collect(
        self, model: nn.Module, *, data: DatasetSplits, task: Task, layout: Layout, bench: Bench, ctx: Context
    ) -> Zoo:
        """See `Collector.collect`. Runs that diverge are left out. Raises UserError where fewer than two remain."""
        from pdiff.zoo import Zoo
        from pdiff_plugins.adapters.layers import in_training
        from pdiff_plugins.collectors.seeds.pruning import prune
        from pdiff_plugins.collectors.seeds.starts import starts
        from pdiff_plugins.collectors.seeds.training import Examples, JointTraining, finite_runs

        require_matrices(layout, self.bits, self.keep)
        template, start = starts(self.start, model, layout, bench, ctx)
        anchor = {key: value.detach().cpu().clone() for key, value in template.state_dict().items()}
        examples = Examples(data.train, self, in_training(template), ctx, self.count)
        training = JointTraining(
            self, self.count, self.saved_steps(), start, template, examples, task, layout, ctx, bits=self.bits
        )
        if self.keep < 1:
            prune(training, self)
        theta_RSD, losses_RS = training.run()
        runs = finite_runs(training, theta_RSD, losses_RS)
        rows = [
            {"run": run, "step": step, "metrics": {"train_loss": float(loss)} if step else {}}
            for run in runs
            for step, loss in zip(self.saved_steps(), losses_RS[run], strict=True)
        ]
        saved = theta_RSD.shape[1]
        kept = [run * saved + step for run in runs for step in range(saved)]
        return Zoo(take(theta_RSD.flatten(0, 1), kept, ctx.snapshot.folder), layout, anchor, rows)

"""The collector of many short trainings of which each has settings of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, Field, FiniteFloat, NonNegativeFloat, PositiveFloat, PositiveInt
from pydantic_core import PydanticCustomError

from pdiff.components import NEVER, Collector, Task
from pdiff.mapped import take

if TYPE_CHECKING:
    from torch import nn

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.data import DatasetSplits
    from pdiff.zoo import Layout, Zoo


SETTINGS = ("lr", "weight_decay", "scale", "share", "steps")
"""What the row of a checkpoint says in its `settings`."""
Ends = TypeVar("Ends", tuple[float, float], tuple[int, int])


def _ordered(ends: Ends) -> Ends:
    if ends[0] > ends[1]:
        raise PydanticCustomError("range", "is to be [lowest, highest]")
    return ends


def _logarithmic(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] == 0 < ends[1]:
        raise PydanticCustomError("range", "is drawn in logarithms: begin above 0, or say [0, 0]")
    return ends


Positive = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ordered)]
Decay = Annotated[tuple[NonNegativeFloat, NonNegativeFloat], AfterValidator(_ordered), AfterValidator(_logarithmic)]
Share = Annotated[FiniteFloat, Field(gt=0, le=1)]


class Varied(Collector):
    """The ends of many short trainings, each with settings of its own.

    Rates, decays and scales are drawn with uniform logarithms, shares and lengths uniformly; the row of a checkpoint
    says them as its `settings`. A run's share of the training examples are its own, in a new order each time that all
    of them were read.
    """

    name = "varied"
    source: ClassVar[str] = "Unterthiner et al. 2020, Predicting Neural Network Accuracy from Weights, arXiv 2002.11448"
    count: int = Field(gt=1, examples=[2000], description="runs")
    lr: Positive = Field((1e-4, 3e-2), description="lowest and highest learning rate at the first step")
    weight_decay: Decay = Field(
        (1e-5, 1e-1), description="lowest and highest weight decay: decoupled, for adam and sgd L2; [0, 0]: none"
    )
    scale: Positive = Field(
        (0.3, 3.0), description="by what the matrices of the network at the start are multiplied, lowest and highest"
    )
    share: Annotated[tuple[Share, Share], AfterValidator(_ordered)] = Field(
        (0.05, 1.0), description="lowest and highest share of the training examples that a run reads"
    )
    steps: Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(_ordered)] = Field(
        (10, 300), description="fewest and most training steps"
    )
    batch_size: int = Field(64, gt=0, description="examples per step and network")
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="sgd has momentum 0.9")
    schedule: Literal["cosine", "constant"] = Field("constant", description="cosine falls to 0 over a run's own length")
    augment: bool = Field(False, description="with the training transform, drawn for each run by itself")
    start: Literal["independent", "shared", "base"] = Field(
        "independent",
        description="where runs begin, before the scale: independent: each at its own initialisation, which asks for a "
        "selector that takes everything; shared: all at one new initialisation; base: all at the base network",
    )
    group: int = Field(
        64, gt=0, description="networks in memory at a time, about: on a CPU whole blocks of 8 to 64",
        json_schema_extra=NEVER,
    )  # fmt: skip

    def expected(self) -> int:
        """Return how many checkpoints there are where no run diverges."""
        return self.count

    def examples(self, train: int) -> int:
        """See `Collector.examples`; of runs of mean length."""
        return round(self.count * min(self.batch_size, train) * sum(self.steps) / 2)

    def collect(
        self, model: nn.Module, *, data: DatasetSplits, task: Task, layout: Layout, bench: Bench, ctx: Context
    ) -> Zoo:
        """See `Collector.collect`. Runs that diverge are left out. Raises UserError where fewer than two remain."""
        from pdiff.zoo import Zoo
        from pdiff_plugins.adapters.layers import in_training
        from pdiff_plugins.collectors.seeds.collector import Seeds
        from pdiff_plugins.collectors.seeds.pace import Own
        from pdiff_plugins.collectors.seeds.starts import starts
        from pdiff_plugins.collectors.seeds.training import Examples, JointTraining, finite_runs
        from pdiff_plugins.collectors.varied.drawing import Shares, scaled, settings

        def own(run: int) -> Own:
            drawn = settings(self, run, ctx)
            return Own(drawn["lr"], drawn["weight_decay"], drawn["steps"], (drawn["scale"], drawn["share"]))

        def begin(run: int) -> nn.Module:
            return scaled(start(run), settings(self, run, ctx)["scale"], layout)

        template, start = starts(self.start, model, layout, bench, ctx)
        anchor = {key: value.detach().cpu().clone() for key, value in template.state_dict().items()}
        alike = ("batch_size", "optimizer", "schedule", "augment", "group", "start")
        seeds = Seeds(
            count=self.count, steps=self.steps[1], lr=self.lr[1], **{name: getattr(self, name) for name in alike}
        )
        examples = Examples(data.train, seeds, in_training(template), ctx, self.count)
        shared = Shares(examples, lambda run: settings(self, run, ctx)["share"])
        training = JointTraining(
            seeds, self.count, [seeds.steps], begin, template, shared, task, layout, ctx, own=own,
        )  # fmt: skip
        theta_RSD, losses_RS = training.run()
        runs = finite_runs(training, theta_RSD, losses_RS)
        drawn = [settings(self, run, ctx) for run in runs]
        rows = [
            {"run": run, "step": one["steps"], "metrics": {"train_loss": float(losses_RS[run, -1])}, "settings": one}
            for run, one in zip(runs, drawn, strict=True)
        ]
        return Zoo(take(theta_RSD[:, -1], runs, ctx.snapshot.folder), layout, anchor, rows)

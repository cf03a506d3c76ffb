"""The collector of several widths: narrow networks as the widest one with dead units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from pdiff.components import Task
from pdiff.mapped import take
from pdiff_plugins.batches import examples_read
from pdiff_plugins.collectors.seeds.options import TrainedTogether

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.data import DatasetSplits
    from pdiff.zoo import Layout, Zoo
    from pdiff_plugins.widths.units import LivingUnits


class Widths(TrainedTogether):
    """Networks of several widths, trained together, each as it would be by itself.

    The recipe's architecture is the widest. A narrower network is that one with dead units, whose parameters are 0 and
    stay so: it computes and learns what the narrow network does. A width counts the units of the widest layer; other
    layers follow in proportion. Those `held_out` are trained alike, and no method sees them.
    """

    name = "widths"
    source: ClassVar[str] = "masked widths: slimmable networks, Yu et al. 2019, arXiv 1812.08928"
    widths: tuple[PositiveInt, ...] = Field(
        (8, 12, 16, 20, 24, 28, 32), min_length=2, description="widths that methods learn from"
    )
    held_out: tuple[PositiveInt, ...] = Field((), description="widths that are held out, inside and outside of those")
    count: int = Field(250, gt=0, description="networks of each width")
    held_out_count: int = Field(50, gt=0, description="networks of each width that is held out")
    start: Literal["independent", "shared"] = Field(
        "independent",
        description="where networks begin: independent: each at its own initialisation; shared: at the first units of "
        "one new network",
    )

    @model_validator(mode="after")
    def _apart(self) -> Widths:
        every = (*self.widths, *self.held_out)
        if twice := next((width for width in every if every.count(width) > 1), None):
            raise PydanticCustomError("widths", "{w} stands twice in widths and held_out", {"w": twice})
        return self

    def expected(self) -> int:
        """Return how many checkpoints methods learn from where none diverges."""
        return self.count * len(self.widths)

    def examples(self, train: int) -> int:
        return self.expected() * examples_read(train, self.batch_size, self.steps)

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        encoder = getattr(ahead.recipe, "encoder", None)
        if encoder is None or encoder.name != "width":
            ahead.lacks(f"{ahead.key}: networks are asked for by their width; write [encoder] name = 'width'")

    def collect(
        self, model: nn.Module, *, data: DatasetSplits, task: Task, layout: Layout, bench: Bench, ctx: Context
    ) -> Zoo:
        """See `Collector.collect`. Raises UserError where units cannot be dead, or a width has no room."""
        from pdiff.zoo import Zoo
        from pdiff_plugins.adapters.layers import in_training
        from pdiff_plugins.collectors.seeds.starts import starts
        from pdiff_plugins.collectors.seeds.training import Examples, JointTraining, finite_runs
        from pdiff_plugins.symmetry.align import example
        from pdiff_plugins.widths.units import LivingUnits

        units = LivingUnits.of(bench, layout, "collect widths")
        units.require_dead(bench.build(0), example(bench), "collect widths")
        learnt = [width for width in self.widths for _ in range(self.count)]
        kept = [width for width in self.held_out for _ in range(self.held_out_count)]
        widths = [*learnt, *kept]
        template, begin = starts(self.start, model, layout, bench, ctx)
        start = _narrowed(begin, widths, units)
        anchor = {key: value.detach().cpu().clone() for key, value in template.state_dict().items()}
        template = in_training(template)
        examples = Examples(data.train, self, template, ctx, len(widths))
        training = JointTraining(self, len(widths), [self.steps], start, template, examples, task, layout, ctx)
        theta_RSD, losses_RS = training.run()
        runs = finite_runs(training, theta_RSD, losses_RS)
        parts = []
        for own in ([run for run in runs if run < len(learnt)], [run for run in runs if run >= len(learnt)]):
            rows = [self._row(run, widths[run], float(losses_RS[run, 0])) for run in own]
            parts.append(Zoo(take(theta_RSD.flatten(0, 1), own, ctx.snapshot.folder), layout, anchor, rows))
        zoo, held_out = parts
        zoo.holdout = held_out if len(held_out) else None
        return zoo

    def _row(self, run: int, width: int, loss: float) -> dict[str, Any]:
        inside = min(self.widths) < width < max(self.widths)
        part = "learnt" if width in self.widths else "held out" if inside else "hard"
        metrics = {"train_loss": loss}
        return {"run": run, "step": self.steps, "metrics": metrics, "about": {"width": width}, "part": part}


def _narrowed(begin: Callable[[int], nn.Module], widths: list[int], units: LivingUnits) -> Callable[[int], nn.Module]:
    """Return what gives the network of its width that a run begins with; runs behind the last only fill a block."""
    import copy

    factors = {width: units.starting(width) for width in set(widths)}

    def start(run: int) -> nn.Module:
        begun = copy.deepcopy(begin(run))
        theta_D = units.layout.vector(begun.state_dict()) * factors[widths[run % len(widths)]]
        begun.load_state_dict(units.layout.tensors(theta_D), strict=False)
        return begun

    return start

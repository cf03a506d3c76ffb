"""The collector of neural fields: one network per shape, fitted together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff.components import IF_SET, Collector, Family, Task
from pdiff.errors import UserError
from pdiff_plugins.fields.family import OfShapes
from pdiff_plugins.fields.task import FieldTask

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.data import DatasetSplits, Split
    from pdiff.zoo import Layout, Zoo
    from pdiff_plugins.fields.shapes.plane import Near


class Fields(Collector):
    """One network per training shape, or per scene, all fitted together.

    Of a task whose networks are shapes that the dataset describes, `learnt` are what methods learn from; those held out
    are fitted alike, and no method sees them. Where there is one shape alone, such as a capture of one's own, `copies`
    are the networks that methods learn from: they start a little apart, and each is fitted to it.

    What the selector leaves out is shared by all networks and trained with them (an auto-decoder): with the biases
    selected, shapes differ in their biases alone. Where they start matters more than anything else: networks that
    start apart give weights whose distribution no generator learns (`independent` shows that).
    """

    name = "fields"
    of_families: ClassVar[bool] = True
    source: ClassVar[str] = "HyperDiffusion, arXiv 2303.17015, section 3.1 and the authors' code (first_weights)"
    shapes: int = Field(0, ge=0, description="the first so many shapes of the train split; 0: all")
    learnt: int = Field(
        0, ge=0, json_schema_extra=IF_SET, description="described shapes that methods learn from; 0: all that are left"
    )
    held_out: int = Field(0, ge=0, json_schema_extra=IF_SET, description="described shapes that are held out")
    hard: int = Field(
        0, ge=0, json_schema_extra=IF_SET, description="of those that the dataset calls hard, so many are held out, too"
    )
    copies: int = Field(
        1, gt=0, json_schema_extra=IF_SET,
        description="networks of each described shape; several are the networks that one shape may have",
    )  # fmt: skip
    apart: float = Field(
        0.1, gt=0, json_schema_extra=IF_SET,
        description="how far from where networks start each of several copies does, in standard deviations of a tensor",
    )  # fmt: skip
    block: int = Field(
        0, ge=0, json_schema_extra=IF_SET,
        description="networks that are fitted at a time, for speed; 0: all, as are those that share parameters",
    )  # fmt: skip
    steps: int = Field(400, gt=0, description="steps of Adam")
    lr: float = Field(1e-2, gt=0, description="largest learning rate, reached after 30 % of the steps (OneCycle)")
    points: int = Field(256, gt=0, description="random points per step")
    near: int = Field(
        256, ge=0, description="further points per step, close to each network's own shape; read in space only"
    )
    start: Literal["mean", "first", "shared", "independent"] = Field(
        "mean",
        description="where networks start: mean: at one fitted to the average shape; first: at one fitted to the first "
        "shape; shared: at the base network; independent: each at its own initialisation, to see that fail",
    )
    anchor: float = Field(
        1e-3, ge=0, description="weight of the squared distance from the start, in the loss; 0 where they start apart"
    )

    def examples(self, train: int) -> int | None:
        """See `Collector.examples`; points are the examples. None where the data set says how many shapes there are.

        Nor is it known whether it has points close to shapes, where such are asked for.
        """
        described = self.copies * (self.learnt + self.held_out + self.hard)
        networks = described if self.learnt else self.shapes
        if not networks or self.near:
            return None
        return (networks + (self.start in ("mean", "first"))) * self.steps * min(self.points, train)

    def expected(self) -> int | None:
        return self.copies * self.learnt or self.shapes or None

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        task = ahead.recipe.task
        if isinstance(task, Family) and not isinstance(task, OfShapes):
            ahead.lacks(
                f"{ahead.key}: fields fits networks that are shapes, and those of task {task.name} are none; use the "
                "collector 'tasks'"
            )
        kept = [option for option in ("learnt", "held_out", "hard") if getattr(self, option)]
        kept += ["copies"] if self.copies > 1 else []
        if kept and not isinstance(task, Family):
            ahead.lacks(
                f"{ahead.key}: {', '.join(kept)}: task {task.name} asks all networks one thing; leave that out, or "
                "take a task such as 'shape' or 'radiance'"
            )
        if self.shapes and isinstance(task, Family):
            ahead.lacks(f"{ahead.key}.shapes: of task {task.name} say learnt and held_out instead")

    def collect(
        self, model: nn.Module, *, data: DatasetSplits, task: Task, layout: Layout, bench: Bench, ctx: Context
    ) -> Zoo:
        """See `Collector.collect`. Raises UserError where the data set holds no fields."""
        ctx = ctx.replace(precision="float32")  # bfloat16 has too few digits for the phase of a sine
        if isinstance(task, OfShapes):
            from pdiff_plugins.fields.described import collect

            return collect(self, model, data, task, layout, bench, ctx)
        if not isinstance(task, FieldTask):
            raise UserError(f"collect fields: task {task.name} knows no inside of a shape; set task.name = 'field'")
        from pdiff.zoo import Zoo
        from pdiff_plugins.fields.fitting import fit, quality

        targets_PS, split = self._targets(data.train, task), data.train
        near = self._near(split, targets_PS.shape[1])
        count = targets_PS.shape[1]
        starts_SD = self.starts(model, split, targets_PS, self._near(split, 1), task, layout, bench, ctx, count)
        theta_SD = fit(self, model, starts_SD, split, targets_PS, task, layout, ctx, near)
        rows = self._rows(quality(model, theta_SD, split, targets_PS, task, layout, ctx), split)
        ctx.progress.say(_said(rows))
        return Zoo(theta_SD, layout, anchor(model, layout, starts_SD[0]), rows)

    def _targets(self, split: Split, task: Task) -> Tensor:
        """Return what the shapes are at the points, `[P, S]`."""
        targets_PS = split.targets
        if targets_PS.ndim != 2 or targets_PS.shape[1] < 2:
            raise UserError(
                f"collect fields: targets of shape {list(targets_PS.shape)} are no fields ([points, shapes]); "
                "use a data set of fields, such as digit_fields"
            )
        check_range(targets_PS, task)
        return targets_PS[:, : self.shapes or None]

    def _near(self, split: Split, shapes: int) -> Near | None:
        """Return the points close to each of the shapes that are used, where there are such."""
        near = getattr(split, "near", None)
        return near[:shapes] if near and self.near else None

    def starts(
        self, model: nn.Module, split: Split, targets_PS: Tensor, near: Near | None, task: Task, layout: Layout,
        bench: Bench, ctx: Context, count: int,
    ) -> Tensor:  # fmt: skip
        """Return where each of so many networks starts, theta_SD; the model takes what is fitted first.

        `targets_PS` of the shapes that may be known, and `near`, the points close to the first.
        """
        import torch

        from pdiff.context import derive
        from pdiff_plugins.fields.fitting import fit

        if self.start == "independent":
            seeds = [derive(ctx.seed, "shape", number) for number in range(count)]
            return torch.stack([layout.vector(bench.build(seed).state_dict()) for seed in seeds])
        start_1D = layout.vector(model.state_dict())[None]
        mean_P1 = targets_PS.mean(dim=1, keepdim=True)  # no surface, and no points close to it
        ones = {"mean": (mean_P1, None), "first": (targets_PS[:, :1], near)}
        if self.start in ones:
            one_P1, near = ones[self.start]
            start_1D = fit(self, model, start_1D, split, one_P1, task, layout, ctx.scope(self.start), near)
        return start_1D.expand(count, -1)

    def _rows(self, metrics: list[dict[str, float]], split: Split) -> list[dict[str, Any]]:
        labels = getattr(split, "labels", None)
        rows = [{"run": number, "step": self.steps, "metrics": values} for number, values in enumerate(metrics)]
        return rows if labels is None else [row | {"label": int(labels[row["run"]])} for row in rows]


def check_range(targets_PS: Tensor, task: Task) -> None:
    """Raise UserError where shapes are no occupancy, and the task takes such."""
    if getattr(task, "values", "") == "occupancy" and (targets_PS.min() < 0 or targets_PS.max() > 1):
        raise UserError(
            f"task.values = 'occupancy': the data set's targets reach {float(targets_PS.min()):.3g} to "
            f"{float(targets_PS.max()):.3g}, not 0 to 1; use values = 'distance', or dataset.target = 'occupancy'"
        )


def anchor(model: nn.Module, layout: Layout, start_D: Tensor) -> dict[str, Tensor]:
    """Return the network that a zoo is around: what is shared, and where the selected entries started."""
    state = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
    return {key: value.clone() for key, value in (state | layout.tensors(start_D)).items()}


def _said(rows: list[dict[str, Any]]) -> str:
    """Return how well the networks draw their own shapes."""
    means = {key: sum(row["metrics"][key] for row in rows) / len(rows) for key in rows[0]["metrics"]}
    numbers = ", ".join(f"{key} {value:.4g}" for key, value in means.items())
    return f"fitted {len(rows)} shapes; mean {numbers}"

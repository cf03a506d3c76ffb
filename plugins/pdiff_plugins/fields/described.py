"""Fitting networks to shapes that a dataset describes: those learnt, and those held out. E examples, S shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff.components import PARTS
from pdiff.data import Batch, Split, evaluation_batches
from pdiff.errors import UserError
from pdiff.zoo import Zoo
from pdiff_plugins.fields.collector import anchor, check_range
from pdiff_plugins.fields.family import SHAPE
from pdiff_plugins.fields.fitting import Stack, fit

if TYPE_CHECKING:
    from torch import nn

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.data import About, DatasetSplits
    from pdiff.zoo import Layout
    from pdiff_plugins.fields.collector import Fields
    from pdiff_plugins.fields.family import OfShapes
    from pdiff_plugins.fields.shapes.plane import Near


@dataclass(frozen=True)
class OfSeveral:
    """A split as several networks have it, each its own shape."""

    of: Split
    family: OfShapes
    abouts: Sequence[About]

    @property
    def targets(self) -> Tensor:
        """`[E, S, ...]`."""
        return torch.stack([self.family.targets(self.of.targets, about) for about in self.abouts], dim=1)

    def __len__(self) -> int:
        return len(self.of)

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index`: inputs `[B, C]` that all have alike, or `[S, B, C]`; see `Split.batch`."""
        batch = self.of.batch(index, device, augment)
        if self.family.alike(batch.inputs):
            return batch
        inputs = [self.family.inputs(batch.inputs, about) for about in self.abouts]
        return batch._replace(inputs=torch.stack(inputs))


@dataclass(frozen=True)
class Mixed:
    """The examples that several shapes have of their own, one behind another, each with its own shape's target."""

    of: OfSeveral
    targets: Tensor
    """`[E * S, 1, ...]`, as of one shape."""

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index`; see `Split.batch`."""
        shapes = len(self.of.abouts)
        inputs_SBC = self.of.batch(index // shapes, device, augment).inputs
        rows_B = torch.arange(len(index), device=inputs_SBC.device)
        return Batch(inputs_SBC[(index % shapes).to(rows_B.device), rows_B], self.targets[index].to(device))


def collect(
    options: Fields, model: nn.Module, data: DatasetSplits, family: OfShapes, layout: Layout, bench: Bench, ctx: Context
) -> Zoo:
    """Return networks of shapes that are learnt, and as `holdout` those of shapes that are held out.

    All start at one place, which knows the learnt shapes alone.
    """
    counts = {"learnt": options.learnt, "held out": options.held_out, "hard": options.hard}
    parts = family.tasks(counts, data, ctx.generator("tasks"))
    parts = {part: [about for about in parts[part] for _ in range(options.copies)] for part in PARTS}
    if len(parts["learnt"]) < FEWEST:
        raise UserError(
            "collect.copies = 1: the dataset has one shape, of which that makes one network, and methods learn from at "
            "least two; set collect.copies, such as 32"
        )
    learnt, kept = parts["learnt"], [about for part in PARTS[1:] for about in parts[part]]
    every = OfSeveral(data.train, family, [*learnt, *kept])
    targets, near = every.targets, _near(options, data.train, every.abouts)
    check_range(targets, family)
    first, known = _first(options, data.train, family, learnt, targets[:, : len(learnt)])
    starts_SD = options.starts(
        model, first, known, near[:1] if near else None, family, layout, bench, ctx, len(targets[0])
    )
    anchor_D = starts_SD[0]
    starts_SD = apart(options, starts_SD, layout, ctx)
    theta_SD = fit(options, model, starts_SD, every, targets, family, layout, ctx, near)
    rows = _rows(options, model, theta_SD, data, family, layout, parts, ctx)
    state = anchor(model, layout, anchor_D)
    zoo = Zoo(theta_SD[: len(learnt)].clone(), layout, state, rows[: len(learnt)])
    if kept:
        zoo.holdout = Zoo(theta_SD[len(learnt) :].clone(), layout, state, rows[len(learnt) :])
    means = ", ".join(f"{part} {_mean(rows, part, family.metric):.4g}" for part in PARTS if parts[part])
    ctx.progress.say(f"fitted {len(rows)} shapes; mean {family.metric} on the selection split: {means}")
    return zoo


def _first(
    options: Fields, train: Split, family: OfShapes, learnt: Sequence[About], targets: Tensor
) -> tuple[Split, Tensor]:
    """Return what the network where all start is fitted to: examples, and the targets of the shapes learnt.

    Shapes with examples of their own have no average there: all their examples are mixed.
    """
    if family.together(train):
        return OfSeveral(train, family, learnt), targets
    if options.start == "first":
        return OfSeveral(train, family, learnt[:1]), targets
    mixed = Mixed(OfSeveral(train, family, learnt), targets.flatten(0, 1)[:, None])
    return mixed, mixed.targets


def apart(options: Fields, starts_SD: Tensor, layout: Layout, ctx: Context) -> Tensor:
    """Return starts of copies moved apart, by so many standard deviations of each entry."""
    if options.copies == 1 or options.start == "independent":
        return starts_SD
    noise_SD = torch.randn(starts_SD.shape, generator=ctx.generator("copies"))
    for entry in layout.entries:
        noise_SD[:, entry.columns] *= starts_SD[0, entry.columns].std(correction=0)
    return starts_SD + options.apart * noise_SD


def _near(options: Fields, split: Split, abouts: Sequence[About]) -> Near | None:
    """Return the points close to each network's own shape, where there are such."""
    near: Near | None = getattr(split, "near", None)
    if near is None or not options.near:
        return None
    return near[torch.tensor([about[SHAPE] for about in abouts])]


@torch.no_grad()
def _rows(
    options: Fields, model: nn.Module, theta_SD: Tensor, data: DatasetSplits, family: OfShapes, layout: Layout,
    parts: dict[str, list[dict[str, object]]], ctx: Context,
) -> list[dict[str, object]]:  # fmt: skip
    """Return a row for each network: what it is about, and its score on the selection split."""
    selection = data.validation if len(data.validation) else data.test
    abouts = [(part, about) for part in PARTS for about in parts[part]]
    scores: list[float] = []
    for start in range(0, len(theta_SD), AT_ONCE):
        some = [about for _, about in abouts[start : start + AT_ONCE]]
        stack = Stack(model, theta_SD[start : start + AT_ONCE], layout, family).to(ctx.device).eval()
        own = OfSeveral(selection, family, some)
        drawn = [stack.fields(batch.inputs).cpu() for batch in evaluation_batches(own, EXAMPLES, ctx.device)]
        for prediction, target in zip(torch.cat(drawn, dim=1), own.targets.unbind(1), strict=True):
            scores.append(float(family.score(prediction[None], target)[0]))
    return [
        {"run": number, "step": options.steps, "metrics": {family.metric: score}, "about": about, "part": part}
        for number, ((part, about), score) in enumerate(zip(abouts, scores, strict=True))
    ]


def _mean(rows: Sequence[dict[str, object]], part: str, metric: str) -> float:
    values = [row["metrics"][metric] for row in rows if row["part"] == part]  # type: ignore[index]
    return sum(values) / len(values)


FEWEST = 2
"""Networks that methods learn from, at least."""
AT_ONCE, EXAMPLES = 32, 256
"""Networks, and examples of each, that are scored at a time."""

"""Fitting of neural fields: one stack of networks, one optimiser. P points, B of them in a step, S shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from pdiff.components import Family
from pdiff.context import Context
from pdiff.data import Batch, Split
from pdiff.networks import entry_of, once
from pdiff.running.ranks import by_rows
from pdiff.training.loop import train
from pdiff.zoo import Layout
from pdiff_plugins.maths.schedules import warm_one_cycle

if TYPE_CHECKING:
    from pdiff.components import Task
    from pdiff_plugins.fields.collector import Fields
    from pdiff_plugins.fields.shapes.plane import Near
    from pdiff_plugins.fields.task import FieldTask

RISE = 0.3
"""Share of the steps in which the rate rises, as torch's OneCycleLR has it."""


class Stack(nn.Module):
    """Networks that differ in the selected entries; the template's other parameters are shared and trained too."""

    def __init__(self, template: nn.Module, starts_SD: Tensor, layout: Layout, task: Task):
        super().__init__()
        self.layout, self.task = layout, task
        self.theta_SD = nn.Parameter(starts_SD.clone())
        for key, parameter in template.named_parameters():
            parameter.requires_grad_(key not in layout.keys)
        self.template, self.places = template, once(template, layout.keys)

    def losses(self, batch: Batch) -> Tensor:
        """Return each network's loss on its own shape `[S]`, from targets `[B, S, ...]`.

        Inputs are `[B, C]`, the same points for all, or `[S, B, C]`, of each network its own.
        """
        asked = isinstance(self.task, Family)  # which takes the targets of one shape; else they are all shapes'

        def one(entries: dict[str, Tensor], inputs_BC: Tensor, targets_B: Tensor) -> Tensor:
            return self.task.loss(self._field(entries), Batch(inputs_BC, targets_B if asked else targets_B[:, None]))

        axis = 0 if batch.inputs.ndim == 3 else None
        return vmap(one, in_dims=(0, axis, 1))(self.layout.tensors(self.theta_SD), batch.inputs, batch.targets)

    def fields(self, inputs: Tensor) -> Tensor:
        """Return each network's predictions `[S, B, ...]` at points `[B, C]`, or at its own, `[S, B, C]`."""

        def one(entries: dict[str, Tensor], inputs_BC: Tensor) -> Tensor:
            return self.task.predict(self._field(entries), inputs_BC)

        return vmap(one, in_dims=(0, 0 if inputs.ndim == 3 else None))(self.layout.tensors(self.theta_SD), inputs)

    def _field(self, entries: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
        entries = {key: entries[key].to(entry_of(self.template, key).dtype) for key in self.places}
        return lambda x: functional_call(self.template, entries, (x,), tie_weights=False)


def fit(
    settings: Fields, model: nn.Module, starts_SD: Tensor, split: Split, targets_PS: Tensor, task: Task,
    layout: Layout, ctx: Context, near: Near | None = None,
) -> Tensor:  # fmt: skip
    """Return theta_SD of networks fitted to the shapes; `model` takes the shared parameters.

    With `near`, a step also has points close to each network's own shape. The loss is summed over networks, so that
    none depends on how many others there are: each rank fits its own, block by block, unless they share parameters.
    """

    def of(mine: slice) -> Tensor:
        return _fit(settings, model, starts_SD, split, targets_PS, task, layout, ctx, near, mine)

    def in_blocks(mine: slice) -> Tensor:
        rows = range(len(starts_SD))[mine]
        size = settings.block or max(1, len(rows))
        if len(rows) <= size:
            return of(mine)
        theta_SD, starts = torch.empty(len(rows), starts_SD.shape[1]), range(rows.start, rows.stop, size)
        with ctx.progress.step("collect: blocks of networks", len(starts)) as step:
            for start, into_SD in zip(starts, theta_SD.split(size), strict=True):
                into_SD.copy_(of(slice(start, start + len(into_SD))))
                step.advance()
        return theta_SD

    shares = any(key not in layout.keys for key, _ in model.named_parameters())
    return of(slice(None)) if shares else by_rows(len(starts_SD), in_blocks)


def _fit(
    settings: Fields, model: nn.Module, starts_SD: Tensor, split: Split, targets_PS: Tensor, task: Task,
    layout: Layout, ctx: Context, near: Near | None, mine: slice,
) -> Tensor:  # fmt: skip
    """Return those of the networks; what is drawn is drawn for all."""
    if len(range(len(starts_SD))[mine]) < len(starts_SD):
        ctx = ctx.replace(snapshot=ctx.snapshot.shared().scope(f"{mine.start}-{mine.stop}"))
    starts_SD = starts_SD[mine]
    stack = Stack(model, starts_SD, layout, task).to(ctx.device).train()
    starts_SD = stack.theta_SD.detach().clone()
    pull = settings.anchor if settings.start != "independent" else 0.0

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        index = torch.randperm(len(split), generator=generator)[: settings.points]
        batch = Batch(split.batch(index, torch.device("cpu"), generator).inputs, targets_PS[index])
        batch = with_own(batch, near, settings.near, generator) if near else batch
        return batch.inputs[mine] if batch.inputs.ndim == 3 else batch.inputs, batch.targets[:, mine]

    def loss(*batch: Tensor) -> Tensor:
        return stack.losses(Batch(*batch)).sum() + pull * (stack.theta_SD - starts_SD).square().sum()

    train(
        stack, loss, steps=settings.steps, ctx=ctx, what="collect", lr=settings.lr, optimizer="adam",
        schedule=warm_one_cycle(settings.steps, RISE), draw=draw,
    )  # fmt: skip
    return stack.theta_SD.detach().cpu()


def with_own(batch: Batch, near: Near, count: int, generator: torch.Generator) -> Batch:
    """Return the points that all networks share, `[B, C]`, and so many more of each one's own, `[S, B + count, C]`."""
    own_SQC, values_QS = near.draw(count, generator)
    shared_SBC = batch.inputs.expand(len(own_SQC), -1, -1)
    return Batch(torch.cat([shared_SBC, own_SQC], dim=1), torch.cat([batch.targets, values_QS]))


@torch.no_grad()
def quality(
    model: nn.Module, theta_SD: Tensor, split: Split, targets_PS: Tensor, task: FieldTask, layout: Layout, ctx: Context
) -> list[dict[str, float]]:
    """Return how well each network draws its own shape: PSNR in decibels, and the IoU of what is inside."""
    stack = Stack(model, theta_SD, layout, task).to(ctx.device).eval()
    sums = [
        _sums(stack.fields(split.batch(index, ctx.device).inputs).cpu(), targets_PS[index].T, task)
        for index in torch.arange(len(split)).split(128)
    ]
    squares_S, both_S, either_S = torch.stack(sums).sum(dim=0)
    psnr_S = -10 * (squares_S / len(split)).clamp_min(1e-12).log10()
    own_S = torch.where(either_S > 0, both_S / either_S.clamp_min(1), 1.0)
    return [{"psnr": psnr, "own_iou": overlap} for psnr, overlap in zip(psnr_S.tolist(), own_S.tolist(), strict=True)]


def _sums(drawn_SB: Tensor, targets_SB: Tensor, task: FieldTask) -> Tensor:
    """Return squared errors, and points inside both and inside either, `[3, S]` in float64."""
    ours, theirs = task.inside(drawn_SB), task.inside(targets_SB)
    terms = (drawn_SB - targets_SB).square(), ours & theirs, ours | theirs
    return torch.stack([term.double().sum(dim=1) for term in terms])

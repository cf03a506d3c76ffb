"""Fitting of neural fields: one stack of networks, one optimiser. P points, B of them in a step, S shapes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from pdiff.context import Context
from pdiff.data import Batch, Split
from pdiff.training import train
from pdiff.zoo import Layout

if TYPE_CHECKING:
    from pdiff.components import Task
    from pdiff_plugins.field_collector import Fields

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
        self.template = template

    def losses(self, batch: Batch) -> Tensor:
        """Return each network's loss on its own shape `[S]`, from targets `[B, S]`."""

        def one(entries: dict[str, Tensor], targets_B: Tensor) -> Tensor:
            def field(x: Tensor) -> Tensor:
                return functional_call(self.template, entries, (x,))

            return self.task.loss(field, Batch(batch.inputs, targets_B[:, None]))

        return vmap(one, in_dims=(0, 1))(self.layout.tensors(self.theta_SD), batch.targets)

    def fields(self, inputs: Tensor) -> Tensor:
        """Return each network's prediction at the points, `[S, B]`."""

        def one(entries: dict[str, Tensor]) -> Tensor:
            return self.task.predict(lambda x: functional_call(self.template, entries, (x,)), inputs)

        return vmap(one)(self.layout.tensors(self.theta_SD))


def fit(
    settings: Fields, model: nn.Module, starts_SD: Tensor, split: Split, targets_PS: Tensor, task: Task,
    layout: Layout, ctx: Context,
) -> Tensor:  # fmt: skip
    """Return theta_SD of networks fitted to the shapes; `model` takes the shared parameters.

    The loss is summed over networks, so that none depends on how many others there are.
    """
    stack = Stack(model, starts_SD, layout, task).to(ctx.device).train()
    starts_SD = stack.theta_SD.detach().clone()
    pull = settings.anchor if settings.start != "independent" else 0.0

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        index = torch.randperm(len(split), generator=generator)[: settings.points]
        return split.batch(index, torch.device("cpu"), generator).inputs, targets_PS[index]

    def loss(*batch: Tensor) -> Tensor:
        return stack.losses(Batch(*batch)).sum() + pull * (stack.theta_SD - starts_SD).square().sum()

    train(
        stack, loss, steps=settings.steps, ctx=ctx, what="collect", lr=settings.lr, optimizer="adam",
        schedule=one_cycle(settings.steps), draw=draw,
    )  # fmt: skip
    return stack.theta_SD.detach().cpu()


def one_cycle(steps: int):
    """Return the factor on the learning rate: up from 1/25 and down to 0 along cosines (Smith & Topin 2018)."""
    top = max(round(RISE * steps), 1)

    def factor(step: int) -> float:
        if step < top:
            return 1 - 0.96 * 0.5 * (1 + math.cos(math.pi * step / top))
        return 0.5 * (1 + math.cos(math.pi * (step - top) / max(steps - top, 1)))

    return factor


@torch.no_grad()
def quality(
    model: nn.Module, theta_SD: Tensor, split: Split, targets_PS: Tensor, task: Task, layout: Layout, ctx: Context
) -> list[dict[str, float]]:
    """Return how well each network draws its own shape: PSNR in decibels."""
    stack = Stack(model, theta_SD, layout, task).to(ctx.device).eval()
    errors = [
        (stack.fields(batch.inputs).cpu() - targets_PS[index].T).square().sum(dim=1)
        for index in torch.arange(len(split)).split(128)
        for batch in [split.batch(index, ctx.device)]
    ]
    mean_S = torch.stack(errors).double().sum(dim=0) / len(split)
    return [{"psnr": value} for value in (-10 * mean_S.clamp_min(1e-12).log10()).tolist()]

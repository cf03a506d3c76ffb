"""The running statistics of BatchNorm layers, as each network itself has them on training examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pdiff.context import Context
from pdiff.data import Split
from pdiff.errors import UserError
from pdiff.mapped import Touched
from pdiff.training.loop import threads_for
from pdiff.zoo import Layout

BATCH = 128


@torch.no_grad()
def recalibrated(
    theta_MD: Tensor, model: nn.Module, layout: Layout, split: Split, examples: int, ctx: Context
) -> Tensor:
    """Return theta_MD with the running statistics that each network itself has on so many training examples.

    `model` holds the anchor, and its state is put back. Raises UserError where none are selected.
    """
    norms = [
        module for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and f"{name}.running_var" in layout.keys
    ]  # fmt: skip
    if not norms:
        raise UserError(
            "sample.step: recalibration needs BatchNorm statistics among the selected entries (selector 'entire'); "
            "select them, or leave the step out"
        )
    chosen = torch.randperm(len(split), generator=ctx.generator("recalibrate"))[:examples]
    batches = [split.batch(index, ctx.device).inputs for index in chosen.tensor_split(-(-len(chosen) // BATCH))]
    before, anew_MD = {key: value.clone() for key, value in model.state_dict().items()}, ctx.empty(*theta_MD.shape)
    touched = Touched(theta_MD, anew_MD)
    with threads_for(model, ctx.threads), ctx.progress.step("recalibrate", len(theta_MD)) as bar:
        for theta_D, anew_D in zip(theta_MD, anew_MD, strict=True):
            model.load_state_dict(before | layout.tensors(theta_D.to(ctx.device)))
            _measure(model, norms, batches)
            anew_D.copy_(layout.joined(model.state_dict()))
            touched(theta_D, anew_D)
            bar.advance()
    model.load_state_dict(before)
    touched.end()
    return anew_MD


def _measure(model: nn.Module, norms: list[_BatchNorm], batches: Sequence[Any]) -> None:
    """Set the running statistics of `norms` to the mean of those of the batches; all else is in eval mode."""
    model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for inputs in batches:
        model(inputs)
    model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum

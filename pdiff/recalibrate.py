"""Recalibration: BatchNorm statistics of sampled networks, taken anew from training examples."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from pdiff.context import Context
from pdiff.data import Split
from pdiff.errors import UserError
from pdiff.training import threads_for
from pdiff.zoo import Layout

BATCH = 128


@torch.no_grad()
def recalibrated(
    theta_MD: Tensor, model: nn.Module, layout: Layout, split: Split, examples: int, ctx: Context
) -> Tensor:
    """Return theta_MD with the running statistics that each network itself has on so many training examples.

    What averages and generators give for them fits no network in particular (SANE, arXiv 2406.09997; REPAIR, arXiv
    2211.08403). `model` holds the anchor, and its state is put back. Raises UserError where none are selected.
    """
    if not any(entry.positive for entry in layout.entries):
        raise UserError(
            f"sample.batchnorm_recalibration = {examples}: the selected entries hold no BatchNorm statistics; select "
            "them too (selector 'entire'), or set it to 0"
        )
    chosen = torch.randperm(len(split), generator=ctx.generator("recalibrate"))[:examples]
    batches = [split.batch(index, ctx.device).inputs for index in chosen.split(BATCH)]
    before, rows = {key: value.clone() for key, value in model.state_dict().items()}, []
    with threads_for(model, ctx.threads), ctx.progress.step("recalibrate", len(theta_MD)) as bar:
        for theta_D in theta_MD:
            model.load_state_dict(before | layout.tensors(theta_D.to(ctx.device)))
            update_bn(batches, model)
            rows.append(layout.vector(model.state_dict()))
            bar.advance()
    model.load_state_dict(before)
    model.eval()
    return torch.stack(rows)

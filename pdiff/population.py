"""Population: M networks that differ only in the selected parameters, run on one split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pdiff.context import Context
from pdiff.data import Split, evaluation_batches
from pdiff.errors import UserError
from pdiff.prefix import Prefixed, prefixed
from pdiff.training import threads_for
from pdiff.zoo import Layout

if TYPE_CHECKING:
    from pdiff.components import Task


@torch.no_grad()
def predict(
    model: nn.Module, layout: Layout, theta_MD: Tensor, *, task: Task, split: Split, ctx: Context, what: str
) -> Tensor:
    """Return the predictions `[M, E, ...]` of all networks on a split, on the CPU.

    Each batch is decoded and prepared once, and what no selected parameter reaches is computed once (`pdiff.prefix`).
    `model` holds the anchor; its selected entries are overwritten and put back.
    """
    model = model.to(ctx.device).eval()
    entries = layout.tensors(theta_MD.to(ctx.device))
    own = {key: value for key, value in model.state_dict().items() if key in entries}
    before = {key: value.clone() for key, value in own.items()}
    columns: list[Tensor] = []
    parted: Prefixed | None = None
    total = -(-len(split) // ctx.batch_size) * len(theta_MD)
    with threads_for(model, ctx.threads), ctx.progress.step(what, total) as bar:
        for position, batch in enumerate(evaluation_batches(split, ctx.batch_size, ctx.device)):
            if position == 0 and len(theta_MD) > 1:
                few = batch.inputs[:8]
                parted = prefixed(model, layout.keys, few, lambda network: _write(own, entries, network), ctx.warn)
            run = _runner(model, parted, batch.inputs)
            rows = []
            for network in range(len(theta_MD)):
                _write(own, entries, network)
                rows.append(task.predict(run, batch.inputs).cpu())
            columns.append(torch.stack(rows))
            bar.advance(len(theta_MD))
    for key, value in before.items():
        own[key].copy_(value)
    return torch.cat(columns, dim=1)


def _runner(model: nn.Module, parted: Prefixed | None, inputs: Tensor) -> Callable[[Tensor], Any]:
    """Return what stands for the model on this batch: the model, or only the part that differs between networks."""
    if parted is None:
        return model
    suffix = parted.prepare(inputs)
    return lambda _: suffix()


def _write(own: Mapping[str, Tensor], entries: Mapping[str, Tensor], network: int) -> None:
    for key, value in own.items():
        value.copy_(entries[key][network])


def score_on(
    model: nn.Module, layout: Layout, theta_MD: Tensor, *, task: Task, split: Split, ctx: Context, what: str
) -> Tensor:
    """Return the task's score of every network on a split, `[M]` in float64."""
    predictions = predict(model, layout, theta_MD, task=task, split=split, ctx=ctx, what=what)
    return task.score(predictions, split.targets)


@torch.no_grad()
def score_model(model: nn.Module, task: Task, split: Split, ctx: Context) -> float:
    """Return the task's score of one network, as it is, on a split; leaves it in eval mode."""
    model = model.to(ctx.device).eval()
    with threads_for(model, ctx.threads):
        batches = evaluation_batches(split, ctx.batch_size, ctx.device)
        predictions = torch.cat([task.predict(model, batch.inputs).cpu() for batch in batches])
    return float(task.score(predictions[None], split.targets)[0])


def check(theta_MD: Tensor, layout: Layout, who: str) -> None:
    """Raise UserError where a vector is not finite, or not positive in an entry that must be."""
    if not torch.isfinite(theta_MD).all():
        bad = int((~torch.isfinite(theta_MD)).any(dim=1).sum())
        raise UserError(
            f"{who}: {bad} of {len(theta_MD)} sampled networks hold NaN or Inf; lower its learning rate or noise"
        )
    for entry in layout.entries:
        if entry.positive and not (theta_MD[:, entry.columns] >= 0).all():
            raise UserError(f"{who}: sampled {entry.key} is negative; a method must not give negative variances")

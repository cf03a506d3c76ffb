"""Population: M networks that differ only in the selected parameters, run on one split."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pdiff.context import Context
from pdiff.data import Split, evaluation_batches, evaluation_size
from pdiff.errors import UserError
from pdiff.mapped import Touched, finite_rows
from pdiff.networks import entry_of
from pdiff.running.memory import free_bytes, ran_out
from pdiff.running.ranks import by_rows
from pdiff.training.loop import threads_for
from pdiff.way import Chooser, OneAtATime, Predicts, Way
from pdiff.zoo import Layout

if TYPE_CHECKING:
    from pdiff.components import Task


class Predictor:
    """Runs populations of one network on splits, each in the way that its chooser finds, or one at a time."""

    def __init__(self, model: nn.Module, layout: Layout, task: Predicts, chooser: Chooser | None = None):
        self.model, self.layout, self.task = model, layout, task
        self.chooser = chooser or OneAtATime(model, layout, task)

    @torch.no_grad()
    def predict(self, theta_MD: Tensor, split: Split, ctx: Context, what: str) -> Tensor:
        """Return the predictions `[M, E, ...]` of all networks on a split, on the CPU.

        Each batch is read and prepared once for all networks, or for those of this rank. The model holds the anchor;
        its selected entries are overwritten and put back. When memory runs out it goes on with smaller batches. Raises
        UserError where not even one example fits.
        """
        return by_rows(len(theta_MD), lambda rows: self._fitting(theta_MD[rows], split, ctx, what))

    def _fitting(self, theta_MD: Tensor, split: Split, ctx: Context, what: str) -> Tensor:
        """Return the predictions of these networks, in batches that fit."""
        self.model.to(ctx.device).eval()
        size = evaluation_size(split, ctx.batch_size, ctx.device)
        while True:
            try:
                with threads_for(self.model, ctx.threads), _kept(self.model, self.layout.keys):
                    return self._predict(theta_MD, split, ctx.replace(batch_size=size), what)
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error):
                    raise
                if size == 1:
                    raise UserError(f"{what}: not even one example fits into the memory of {ctx.device}") from None
            size = (size + 1) // 2
            ctx.warn(f"{what}: out of memory; going on with {size} examples at a time")

    def _predict(self, theta_MD: Tensor, split: Split, ctx: Context, what: str) -> Tensor:
        theta_MD = _near(theta_MD, ctx.device)
        columns: list[Tensor] = []
        way: Way | None = None
        touched = Touched(theta_MD)
        batches = -(-len(split) // ctx.batch_size)
        with ctx.progress.step(what, len(theta_MD) * batches) as bar:
            for batch in evaluation_batches(split, ctx.batch_size, ctx.device):
                way = way or self.chooser.choose(theta_MD, batch.inputs, batches, ctx, what)
                ready, rows, start = way.prepare(batch.inputs), [], 0
                while start < len(theta_MD):
                    part_MD = theta_MD[start : start + way.at_once]
                    predictions = way.halving(part_MD.to(ctx.device), ready)
                    rows.append(self.task.reduce(predictions, batch.targets).cpu())
                    start += len(predictions)
                    touched(part_MD)
                    bar.advance(len(predictions))
                columns.append(torch.cat(rows))
        return torch.cat(columns, dim=1)


def _near(theta_MD: Tensor, device: torch.device) -> Tensor:
    """Return the vectors on the device where they fit easily, else as they are."""
    if device.type == "cpu" or theta_MD.nbytes > free_bytes(device) / 4:
        return theta_MD
    return theta_MD.to(device)


@contextlib.contextmanager
def _kept(model: nn.Module, keys: list[str]) -> Iterator[None]:
    """Put the entries back at the end."""
    before = {key: entry_of(model, key).data for key in keys}
    try:
        yield
    finally:
        for key, value in before.items():
            entry_of(model, key).data = value


@torch.no_grad()
def score_model(model: nn.Module, task: Task, split: Split, ctx: Context) -> float:
    """Return the task's score of one network, as it is, on a split; leaves it in eval mode."""
    model = model.to(ctx.device).eval()
    with threads_for(model, ctx.threads):
        parts = [
            task.reduce(task.predict(model, batch.inputs)[None], batch.targets).cpu()
            for batch in evaluation_batches(split, ctx.batch_size, ctx.device)
        ]
    return float(task.score(torch.cat(parts, dim=1), split.targets)[0])


def check(theta_MD: Tensor, layout: Layout, who: str) -> None:
    """Raise UserError where a vector is not finite, or not positive in an entry that must be."""
    bad = int((~finite_rows(theta_MD)).sum())
    if bad:
        raise UserError(
            f"{who}: {bad} of {len(theta_MD)} sampled networks hold NaN or Inf; lower its learning rate or noise"
        )
    for entry in layout.entries:
        if entry.positive and not (theta_MD[:, entry.columns] >= 0).all():
            raise UserError(f"{who}: sampled {entry.key} is negative; a method must not give negative variances")

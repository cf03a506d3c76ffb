"""A few steps of training: what a control is worth that is not left as it was made. M networks, D parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff_plugins.collectors.seeds.training import batches_of
from pdiff_plugins.collectors.tasks.joint import TaskLosses
from pdiff_plugins.maths.descent import adam

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.context import Context


class Steps:
    """Trains networks for a few steps of Adam, at the rate that is best on the selection split."""

    def __init__(self, bench: Bench, ctx: Context, steps: int, rates: Sequence[float], batch_size: int):
        self.bench, self.ctx, self.steps, self.rates = bench, ctx, steps, rates
        self.split, self.losses = bench.objective.split, TaskLosses(bench, ctx)
        self.batch_size = min(batch_size, len(self.split))

    def __call__(self, theta_MD: Tensor, name: str) -> tuple[Tensor, float]:
        """Return networks after the steps, and their rate; what is 0 and has no gradient stays 0."""
        tried = {rate: self._trained(theta_MD, rate, name) for rate in self.rates}
        score_M = {rate: self.bench.score(new_MD).nan_to_num(nan=-torch.inf) for rate, new_MD in tried.items()}
        scores = {rate: float(values_M.mean()) for rate, values_M in score_M.items()}
        best = max(scores, key=scores.__getitem__)
        return tried[best], best

    def _trained(self, theta_MD: Tensor, rate: float, name: str) -> Tensor:
        """All rates see the same examples, each network its own."""
        generator, device = self.ctx.generator("steps", name), self.ctx.device

        def gradient(theta_MD: Tensor) -> Tensor:
            index_MB = torch.randint(len(self.split), (len(theta_MD), self.batch_size), generator=generator)
            return self.losses.gradients(theta_MD, batches_of(self.split, index_MB, device))[0]

        return adam(gradient, theta_MD.to(device), self.steps, rate).cpu()

"""Inversion: what a task's own examples make of the zoo's principal directions.

Shapes: T tasks, K directions, D selected parameters, X examples of each task, C numbers of a condition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.data import Batch, each
from pdiff.training.optimizers import optimizer_for
from pdiff.view import ORIGINAL
from pdiff_plugins.collectors.tasks.joint import TaskLosses
from pdiff_plugins.conditions.evaluation.rivals import Beside
from pdiff_plugins.conditions.evaluation.scoring import examples_of
from pdiff_plugins.conditions.generated.places import directions
from pdiff_plugins.latent.space import normalised
from pdiff_plugins.maths import normalise

if TYPE_CHECKING:
    from pdiff_plugins.adapters.rivals.evaluator import Adapters
    from pdiff_plugins.conditions.evaluation.asking import Asker

NAME = "inversion (by {count} examples of the task)"
RATES, TRIED, BATCH = (0.03, 0.1, 0.3), 16, 32
"""Rates of Adam to choose from, tasks on which they are tried, and examples of a step."""


def inverted(options: Adapters, asker: Asker) -> dict[str, Beside]:
    """Return the row: for each task the coefficients that are best for some of its training examples.

    Unlike what is generated, it has seen the task; unlike the task's own network, hardly any of it.
    """
    zoo, ctx, about = asker.view.zoo, asker.ctx.scope("inversion"), asker.tasks.about
    normaliser = normalise.per_column(zoo)
    basis_KD = torch.zeros(min(options.inversion_directions, len(zoo) - 1), zoo.layout.dim)
    directions(normalised(normaliser, zoo.theta_ND, ctx), basis_KD)
    start_D, basis_KD = normaliser.mean.to(ctx.device), (normaliser.scale * basis_KD).to(ctx.device)
    split, generator = asker.view.bench.examples("train"), ctx.generator("examples")
    splits = [asker.judge.as_asked(split, row) for row in range(len(about))]
    count = min(options.inversion_examples, *map(len, splits))
    index_TX = torch.stack([torch.randperm(len(own), generator=generator)[:count] for own in splits])
    losses = TaskLosses(asker.view.bench, ctx)

    def fitted(rows: list[int], lr: float) -> Tensor:
        asked = [splits[row].batch(index_TX[row], ctx.device) for row in rows]
        batch_TX = each(lambda *tensors: torch.stack(tensors), *map(tuple, asked))
        coefficient_TK = torch.zeros(len(rows), len(basis_KD), device=ctx.device, requires_grad=True)
        optimizer = optimizer_for("adam", [coefficient_TK], lr, 0.0)
        draws = ctx.generator("steps")
        for _ in range(options.inversion_steps):
            some = torch.randperm(count, generator=draws)[:BATCH].to(ctx.device)
            step: Any = each(lambda x, some=some: x[:, some], batch_TX)
            theta_TD = zoo.layout.from_free(start_D + coefficient_TK @ basis_KD)
            losses(theta_TD, Batch(*step)).sum().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return zoo.layout.from_free((start_D + coefficient_TK @ basis_KD).detach()).cpu()

    tried = asker.tasks.of("learnt")[:TRIED]
    scores = {lr: _score(asker, fitted(tried, lr), tried) for lr in RATES} if tried else {RATES[1]: 0.0}
    theta_TD = fitted(list(range(len(about))), max(scores, key=scores.__getitem__))
    of_zoo, own = examples_of(asker.view, ORIGINAL), options.inversion_steps * min(BATCH, count)
    return {NAME.format(count=count): Beside(asker.judge.networks(theta_TD), of_zoo and of_zoo + own)}


def _score(asker: Asker, theta_TD: Tensor, rows: list[int]) -> float:
    """Return the mean score of networks on the selection split, on learnt tasks."""
    score_T = asker.view.bench.score(theta_TD, [asker.tasks.about[row] for row in rows])
    return float(score_T.nan_to_num(nan=-torch.inf).mean())

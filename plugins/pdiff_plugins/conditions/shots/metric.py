"""A learned metric: features in which class means tell classes apart, learnt on tasks like those asked.

C classes, F features, G tasks of a step, K support examples of a class, Q queries of a class, W ways,
Z numbers of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pdiff.context import Context
from pdiff.running.snapshot import Snapshot
from pdiff.training.loop import train

if TYPE_CHECKING:
    from pdiff_plugins.conditions.shots.orders import Orders

TASKS, QUERIES, LR = 16, 10, 3e-3
"""Of a step: tasks, and queries of each class; the learning rate."""
HIDDEN, SIZE = 128, 64
"""Of the embedding: width of its hidden layer, and its numbers."""


class Metric(nn.Module):
    """An embedding; distances in it, times a learnt factor, are logits."""

    def __init__(self, features: int):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, SIZE))
        self.log_scale = nn.Parameter(torch.tensor(-2.0))

    def forward(self, examples_GWEF: Tensor, shots: int) -> Tensor:
        """Return logits `[G, W * Q, W]` of the examples behind the first K of each class, by the means of those."""
        embedded_GWEZ = self.embed(examples_GWEF)
        mean_GWZ, query_GQZ = embedded_GWEZ[:, :, :shots].mean(dim=2), embedded_GWEZ[:, :, shots:].flatten(1, 2)
        return -self.log_scale.exp() * torch.cdist(query_GQZ, mean_GWZ).square()


def learned_metric(
    features_EF: Tensor, example_CN: Tensor, seen: Sequence[int], family: Orders, ctx: Context
) -> Callable[[Tensor], Tensor]:
    """Return an embedding learnt on tasks of the seen classes, each step with new examples.

    `example_CN`: numbers of N examples of each class.
    """
    torch.manual_seed(ctx.seed)
    module, ways, each = Metric(features_EF.shape[1]).to(ctx.device), family.ways, family.shots + QUERIES
    seen_C = torch.tensor(seen)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor]:
        class_GW = seen_C[torch.rand(TASKS, len(seen), generator=generator).argsort(dim=1)[:, :ways]]
        place_GWE = torch.randint(example_CN.shape[1], (TASKS, ways, each), generator=generator)
        return (features_EF[example_CN[class_GW[:, :, None], place_GWE]],)

    def loss(examples_GWEF: Tensor) -> Tensor:
        targets_GQ = torch.arange(ways, device=examples_GWEF.device).repeat_interleave(QUERIES).expand(TASKS, -1)
        return cross_entropy(module(examples_GWEF, family.shots).flatten(0, 1), targets_GQ.flatten())

    context = ctx.replace(snapshot=Snapshot())
    train(module, loss, steps=family.metric_steps, ctx=context, what="learned metric", lr=LR, draw=draw)
    embed = module.embed.cpu().eval().requires_grad_(False)
    return lambda features: embed(features)

"""Populations of a network, and its predictions by the plain loop."""

from __future__ import annotations

import torch
from torch import nn

from pdiff.context import Context
from pdiff.engine.bench import predictor_of
from pdiff.zoo import Layout


def networks(model: nn.Module, keys: list[str], count: int = 4) -> tuple[Layout, torch.Tensor]:
    layout = Layout.of(model, keys)
    base = layout.to_free(layout.vector(model.state_dict()))
    noise = torch.randn(count, layout.dim, generator=torch.Generator().manual_seed(1))
    return layout, layout.from_free(base + 0.1 * noise)


def predict(model: nn.Module, layout: Layout, theta_MD: torch.Tensor, *, task, split, ctx: Context) -> torch.Tensor:
    """Return predictions by the way that plugins choose."""
    return predictor_of(model, layout, task, ctx).predict(theta_MD, split, ctx, "predict")


def plain(
    model: nn.Module, layout: Layout, theta_MD: torch.Tensor, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One network after the other, through load_state_dict: classes `[M, E]` and logits."""
    rows = []
    for theta_D in theta_MD:
        state = {key: value.clone() for key, value in model.state_dict().items()}
        model.load_state_dict(state | layout.tensors(theta_D))
        with torch.no_grad():
            rows.append(torch.cat([model.eval()(part) for part in x.split(5)]))
        model.load_state_dict(state)
    logits = torch.stack(rows)
    return logits.argmax(dim=2), logits


class InPlace(nn.Module):
    """Overwrites a frozen value with one that depends on the selection."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frozen = self.first(x)
        frozen.add_(self.last(x))
        return frozen

"""What the tests on a pretended accelerator train, and what must not have happened on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.context import Context
from pdiff.training.loop import train
from tests.accelerator.pretence import Pretence

Step = Callable[[int, Tensor], Tensor]


def plain_loss(call: int, loss: Tensor) -> Tensor:
    return loss


def waiting(call: int, loss: Tensor) -> Tensor:
    """Let the host wait for the device."""
    assert loss.item() > 0
    return loss


def waiting_late(call: int, loss: Tensor) -> Tensor:
    """Wait in the call alone that is captured, the fourth."""
    return waiting(call, loss) if call == 4 else loss


def fit(
    device: str, spoil: Step = plain_loss, graphs: bool = True, count: int = 32, steps: int = 12, said: Any = None,
    precision: str = "float32", **options: Any,
) -> Tensor:  # fmt: skip
    """Return the parameters and buffers after a training with dropout and BatchNorm.

    `spoil` is given the number of the call and the loss, and returns the loss.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.SiLU(), nn.Dropout(0.1), nn.Linear(32, 1))
    model, x_NC, calls = model.to(device), torch.randn(200, 6).to(device), []
    said = [] if said is None else said

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        order = torch.randperm(200, generator=generator)
        return (order[: count if (step + 1) % 3 else 7],) if count != 32 else (order[:32],)

    def loss(rows: Tensor) -> Tensor:
        calls.append(1)
        return spoil(len(calls), (model(x_NC[rows])[:, 0].float() - x_NC[rows].sum(dim=1)).square().mean())

    ctx = Context(seed=1, device=torch.device(device), graphs=graphs, precision=precision, warn=said.append)
    train(model, loss, draw=draw, steps=steps, ctx=ctx, what="fit", lr=1e-2, **options)
    return torch.cat([value.detach().cpu().flatten().double() for value in model.state_dict().values()])


def clean(pretence: Pretence) -> None:
    """Nothing on the wrong device, nothing out of order, and the streams as they were."""
    assert not pretence.faults, pretence.faults[:5]
    current = [pretence.current_stream(device) for device in pretence.devices]
    assert current == pretence.defaults and pretence.local.capture is None

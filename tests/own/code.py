"""A stranger's module: a network, data and a loss, which know nothing of pdiff."""

from __future__ import annotations

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width: int = 6, num_classes: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, num_classes))

    def forward(self, x):
        return self.layers(x)


def blobs(count: int, seed: int):
    """Return points around three centres, with the number of the centre."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 3
    centres = torch.tensor([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.0]])
    return centres[y] + torch.randn(count, 2, generator=generator), y


def splits(count: int = 60):
    return tuple(blobs(count, seed) for seed in range(3))


def loss(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets)


def hits(outputs, targets):
    return (outputs.argmax(dim=1) == targets).float().mean()


def checkpoints(count: int = 12) -> list[dict[str, torch.Tensor]]:
    """Return state dicts along a training, as a user has them."""
    x, y = blobs(60, 0)
    torch.manual_seed(0)
    net, kept = Net(), []
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for step in range(40 + count):
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()
        if step >= 40:
            kept.append({key: value.clone() for key, value in net.state_dict().items()})
    return kept

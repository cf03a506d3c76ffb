"""A small network, files of it as others write them, and what a reader says of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pdiff.checkpoints.reading import Reader
from pdiff.errors import UserError


class Net(nn.Module):
    """A perceptron with running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.norm, self.out = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.fc1(x)).relu())


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


def state(seed: int = 0, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: value for name, value in net(seed).state_dict().items()}


def read(path: Path, model: nn.Module | None = None, **options) -> tuple[dict[str, Tensor], str]:
    """Return what a reader gives for a file, and what it says in one line."""
    reader = Reader(model or net(9), "collect", **options)
    given = reader.read(path)
    return given, "\n".join(reader.said())


def refused(path: Path, model: nn.Module | None = None, **options) -> str:
    """Return the one line with which a file is refused."""
    with pytest.raises(UserError) as caught:
        read(path, model, **options)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text
    return text


def same(given: dict[str, Tensor], seed: int = 0) -> bool:
    """Return whether a state dict is that of the network of this seed."""
    expected = state(seed)
    return given.keys() == expected.keys() and all(given[name].equal(value) for name, value in expected.items())

"""A network that is one ball in one colour, and what draws it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.components import Architecture
from pdiff.data import DatasetSplits
from pdiff.testing import bench_of
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.radiance.pictures import SceneRenderer
from pdiff_plugins.radiance.rays import RaySplit, around
from pdiff_plugins.radiance.task import Radiance

INSIDE, SHARP = 40.0, 200.0
"""Of what the density is made of: at most, and how steeply it falls at the surface."""


class BallNet(nn.Module):
    """Dense within a ball; `turned` adds to a colour what it is looked at along."""

    def __init__(self) -> None:
        super().__init__()
        self.place, self.radius = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.tensor([0.4]))
        self.logit, self.turned = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(1))

    def forward(self, x_P6: Tensor) -> Tensor:
        within_P = self.radius - (x_P6[:, :3] - self.place).norm(dim=1)
        colour_P3 = self.logit.expand(len(x_P6), 3) + self.turned * x_P6[:, 3:6]
        return torch.cat([colour_P3, (SHARP * within_P).clamp(-INSIDE, INSIDE)[:, None]], dim=1)


class Ball(Architecture):
    """A ball."""

    name = "ball"

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        return BallNet()


def ball(place: tuple[float, ...] = (0, 0, 0), radius: float = 0.4, colour: tuple[float, ...] = (0.9, 0.2, 0.1),
         turned: float = 0.0) -> Tensor:  # fmt: skip
    """Return theta_D of a ball; it is of the order in which the module has its parameters."""
    logits = [math.log(each / (1 - each)) for each in colour]
    return torch.tensor([*place, radius, *logits, turned])


def renderer(own_cameras: bool = False) -> SceneRenderer:
    """Return what draws such balls, of a dataset of two scenes of which nothing is read."""
    segments = around([0.0], [0.3], 4, 3.2, 0.7)
    if own_cameras:
        segments = segments[:, None].expand(-1, 2, -1)
    split = RaySplit(segments, torch.ones(16, 2, 3), [{}, {}], (1, 4, 4))
    model: Any = BallNet()
    zoo = Zoo.of_one(model.state_dict(), Layout.of(model, list(model.state_dict())))
    bench = bench_of(zoo, Ball(), Radiance(), DatasetSplits(split, split, split, (7,), 3))
    return SceneRenderer(Radiance(), bench)

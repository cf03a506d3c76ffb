"""Points of a square, and procedural shapes as polygons. P points, V corners; x to the right, y downwards."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LETTERS = ("L", "T", "H")


def grid(side: int, dim: int = 2) -> Tensor:
    """Return the centres of `side ** dim` cells of -1..1, `[P, dim]`, x running quickest."""
    axis = (2 * torch.arange(side) + 1) / side - 1
    return torch.stack(torch.meshgrid(*[axis] * dim, indexing="ij"), dim=-1).flatten(0, -2).flip(1)


def polygon_distance(points_P2: Tensor, corners_V2: Tensor) -> Tensor:
    """Return the signed distance `[P]` of points to a simple polygon, below zero inside (Quilez, sdPolygon)."""
    following_V2 = corners_V2.roll(-1, dims=0)
    edge_V2 = following_V2 - corners_V2
    from_PV2 = points_P2[:, None] - corners_V2
    along_PV = ((from_PV2 * edge_V2).sum(-1) / edge_V2.square().sum(-1)).clamp(0, 1)
    distance_P = (from_PV2 - along_PV[..., None] * edge_V2).norm(dim=-1).amin(dim=1)
    y = points_P2[:, None, 1]
    left_PV = edge_V2[:, 0] * from_PV2[..., 1] > edge_V2[:, 1] * from_PV2[..., 0]
    above_PV, below_PV = y >= corners_V2[:, 1], y < following_V2[:, 1]
    crossed_PV = (above_PV & below_PV & left_PV) | (~above_PV & ~below_PV & ~left_PV)
    return torch.where(crossed_PV.sum(dim=1) % 2 == 1, -distance_P, distance_P)


def polygons(count: int, generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
    """Return random polygons, corners `[V, 2]` each, and their kinds `[count]`: 0 star, 1 gear, 2 letter."""
    kinds = (star, gear, letter)
    shapes = [_placed(kinds[number % 3](Random(generator)), Random(generator)) for number in range(count)]
    return shapes, torch.arange(count) % 3


class Random:
    """Draws of one generator."""

    def __init__(self, generator: torch.Generator):
        self.generator = generator

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def whole(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.generator))


def _placed(corners_V2: Tensor, random: Random) -> Tensor:
    """Return the polygon turned by up to 15 degrees and moved a little."""
    angle = math.radians(random.between(-15, 15))
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return corners_V2 @ turn.T + torch.tensor([random.between(-0.1, 0.1), random.between(-0.1, 0.1)])


def _around(radii: list[float]) -> Tensor:
    """Return a polygon of these radii at even angles, the first upwards."""
    angle_V = 2 * math.pi * torch.arange(len(radii)) / len(radii) - math.pi / 2
    return torch.tensor(radii)[:, None] * torch.stack([angle_V.cos(), angle_V.sin()], dim=1)


def star(random: Random) -> Tensor:
    outer = random.between(0.6, 0.8)
    return _around([outer, outer * random.between(0.35, 0.6)] * random.whole(4, 6))


def gear(random: Random) -> Tensor:
    outer = random.between(0.55, 0.75)
    inner = outer * random.between(0.65, 0.8)
    return _around([outer, outer, inner, inner] * random.whole(5, 8))


def letter(random: Random) -> Tensor:
    """Return an L, a T or an H of random height, width and stroke."""
    w, h, s = random.between(0.35, 0.55), random.between(0.5, 0.7), random.between(0.12, 0.18)
    corners = {
        "L": [(-w, -h), (2 * s - w, -h), (2 * s - w, h - 2 * s), (w, h - 2 * s), (w, h), (-w, h)],
        "T": [(-w, -h), (w, -h), (w, 2 * s - h), (s, 2 * s - h), (s, h), (-s, h), (-s, 2 * s - h), (-w, 2 * s - h)],
        "H": [(-w, -h), (2 * s - w, -h), (2 * s - w, -s), (w - 2 * s, -s), (w - 2 * s, -h), (w, -h), (w, h),
              (w - 2 * s, h), (w - 2 * s, s), (2 * s - w, s), (2 * s - w, h), (-w, h)],
    }  # fmt: skip
    return torch.tensor(corners[LETTERS[random.whole(0, 2)]])

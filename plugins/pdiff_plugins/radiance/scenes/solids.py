"""Scenes as solids with a colour: signed distances of ellipsoids, boxes and tori. P points; z is up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SHARPNESS, DENSITY = 25.0, 20.0
"""Slope of the density at a surface, and the density inside, both in 1 / length."""
AMBIENT = 0.65
"""Share of light from everywhere; the rest comes from `LIGHT`, and what faces away is as much darker."""
LIGHT = (0.40, -0.50, 0.77)
KINDS = ("ball", "box", "torus")
RING, TUBE = 0.68, 0.32
"""Radii of a torus, as shares of its size."""
STEP = 1e-3
"""Of the differences that surface normals are made of."""


@dataclass(frozen=True)
class Thing:
    """One solid in one colour."""

    kind: str
    colour: tuple[float, float, float]
    """Red, green, blue, 0..1."""
    size: float
    """Half of its width."""
    height: float
    """Half of its height."""

    @property
    def reach(self) -> float:
        """Radius of a ball about the origin outside of which nothing is seen of it."""
        corner = 2**0.5 if self.kind == "box" else 1.0
        return float(((corner * self.size) ** 2 + self.height**2) ** 0.5) + 0.2

    def distance(self, points_P3: Tensor) -> Tensor:
        """Return signed distances `[P]`, below zero inside; exact for boxes, near the surface for the others."""
        sizes_3 = points_P3.new_tensor([self.size, self.size, self.height])
        if self.kind == "box":
            beyond_P3 = points_P3.abs() - sizes_3
            return beyond_P3.clamp_min(0).norm(dim=1) + beyond_P3.amax(dim=1).clamp_max(0)
        if self.kind == "ball":
            near_P, steep_P = (points_P3 / sizes_3).norm(dim=1), (points_P3 / sizes_3.square()).norm(dim=1)
            return near_P * (near_P - 1) / steep_P.clamp_min(1e-6)
        flat_P = points_P3[:, :2].norm(dim=1) - RING * self.size
        level_P = points_P3[:, 2] * (TUBE * self.size / self.height)
        return torch.stack([flat_P, level_P], dim=1).norm(dim=1) - TUBE * self.size

    def seen(self, points_P6: Tensor) -> tuple[Tensor, Tensor]:
        """Return density `[P]` and colour `[P, 3]` at points; see `rendering.Field`."""
        points_P3 = points_P6[:, :3]
        density_P = DENSITY * (-SHARPNESS * self.distance(points_P3)).sigmoid()
        colour_P3 = torch.zeros_like(points_P3)
        there_Q = (density_P > 1e-3 * DENSITY).nonzero()[:, 0]
        steps_33 = STEP * torch.eye(3)
        slopes = [
            self.distance(points_P3[there_Q] + step) - self.distance(points_P3[there_Q] - step) for step in steps_33
        ]
        normal_Q3 = torch.nn.functional.normalize(torch.stack(slopes, dim=1), dim=1)
        light_3 = torch.nn.functional.normalize(torch.tensor(LIGHT), dim=0)
        shade_Q = AMBIENT + (1 - AMBIENT) * (normal_Q3 @ light_3)
        colour_P3[there_Q] = (torch.tensor(self.colour) * shade_Q[:, None]).clamp(0, 1)
        return density_P, colour_P3

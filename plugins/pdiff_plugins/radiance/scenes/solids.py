"""Solids in one colour: signed distances and shades of ellipsoids, boxes and tori. P points of any shape; z is up.

Coordinates are tensors of their own, x, y and z, since sums over a last dimension of three are slow. Distances are
exact, those of ellipsoids to first order at the surface. A torus whose height is not its tube's width is stretched: its
tube, cut across, is a circle that was pulled apart. Shades are as soft as surfaces are: edges are shaded as if rounded,
and what is inside fades towards the middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SHARPNESS, DENSITY = 25.0, 20.0
"""Slope of the density at a surface, and the density inside, both in 1 / length."""
AMBIENT = 0.65
"""Share of light from everywhere; the rest comes from `LIGHT`, and what faces away is as much darker."""
LIGHT = (0.40, -0.50, 0.77)
RING, TUBE = 0.78, 0.22
"""Radii of a torus, as shares of its size: its hole is more than half as wide as it is."""
TINY = 1e-6
Point = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Thing:
    """One solid in one colour."""

    kind: str
    """ball, box or torus."""
    colour: tuple[float, float, float]
    """Red, green, blue, 0..1."""
    size: float
    """Half of its width."""
    height: float
    """Half of its height."""
    lean: float = 0.0
    """Degrees by which its top goes to the right, towards x; below zero to the left."""
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def radius(self) -> float:
        """Of the ball about its centre that holds it."""
        if self.kind == "box":
            return math.hypot(self.size, self.size, self.height)
        return max(self.size, self.height) if self.kind == "ball" else math.hypot(self.size, self.height)

    def turned(self, vectors: Tensor) -> Tensor:
        """Return vectors `[..., 3]` as they are where the thing stands upright."""
        sine, cosine = math.sin(math.radians(self.lean)), math.cos(math.radians(self.lean))
        turn_33 = vectors.new_tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
        return vectors @ turn_33

    def own(self, points: Tensor) -> Tensor:
        """Return points `[..., 3]` about its centre, where it stands upright."""
        return self.turned(points - points.new_tensor(self.centre))

    def extent(self, axis: int) -> float:
        """Return how far it goes from its centre along x, y or z: its support function."""
        x, y, z = self.turned(torch.eye(3, dtype=torch.float64)[axis]).tolist()
        if self.kind == "box":
            return self.size * (abs(x) + abs(y)) + self.height * abs(z)
        flat = math.hypot(x, y)
        if self.kind == "ball":
            return math.hypot(self.size * flat, self.height * z)
        radius, wide, high = self.tube
        return (RING * self.size + wide) * flat + high * abs(z) + radius

    @property
    def tube(self) -> tuple[float, float, float]:
        """Of a torus: the radius of its tube, and half of how far that is pulled apart across and upwards."""
        radius = min(TUBE * self.size, self.height)
        return radius, TUBE * self.size - radius, self.height - radius

    def distance(self, points_P3: Tensor) -> Tensor:
        """Return signed distances `[P]`, below zero inside."""
        return self.measured(self.own(points_P3).unbind(-1))[0]  # type: ignore[arg-type]

    def measured(self, own: Point) -> tuple[Tensor, Tensor]:
        """Return, at its own points, signed distances and shades: the share of its colour that is seen, 0.3 to 1."""
        light = torch.nn.functional.normalize(self.turned(torch.tensor(LIGHT, dtype=torch.float64)), dim=0).tolist()
        measure = {"ball": self._ball, "box": self._box, "torus": self._torus}[self.kind]
        distance_P, facing_P = measure(own, light)
        return distance_P, facing_P.mul_(1 - AMBIENT).add_(AMBIENT)

    def _ball(self, own: Point, light: list[float]) -> tuple[Tensor, Tensor]:
        x, y, z = own
        across, up = self.size**-2, self.height**-2
        flat_P, high_P = (x * x + y * y).mul_(across), (z * z).mul_(up)
        near_P = (flat_P + high_P).sqrt_().clamp_min_(TINY)
        steep_P = flat_P.mul_(across).add_(high_P, alpha=up).sqrt_().clamp_min_(TINY)
        towards_P = (light[0] * across) * x + (light[1] * across) * y + (light[2] * up) * z
        fading_P = (near_P * (SHARPNESS * min(self.size, self.height))).tanh_().div_(steep_P)
        return (near_P - 1).mul_(near_P).div_(steep_P), towards_P.mul_(fading_P)

    def _torus(self, own: Point, light: list[float]) -> tuple[Tensor, Tensor]:
        x, y, z = own
        radius, wide, high = self.tube
        far_P = (x * x + y * y).sqrt_().clamp_min_(TINY)
        across_P, up_P = far_P - RING * self.size, z
        across_P, up_P = across_P - across_P.clamp(-wide, wide), up_P - up_P.clamp(-high, high)
        steep_P = (across_P * across_P).addcmul_(up_P, up_P).sqrt_()
        towards_P = (light[0] * x + light[1] * y).div_(far_P).mul_(across_P).add_(up_P, alpha=light[2])
        fading_P = (steep_P * SHARPNESS).tanh_().div_(steep_P.clamp_min(TINY))
        return steep_P - radius, towards_P.mul_(fading_P)

    def _box(self, own: Point, light: list[float]) -> tuple[Tensor, Tensor]:
        beyond = [
            axis_P.abs().sub_(half) for axis_P, half in zip(own, (self.size, self.size, self.height), strict=True)
        ]
        most_P = torch.maximum(torch.maximum(beyond[0], beyond[1]), beyond[2])
        outside_P = torch.zeros_like(most_P)
        for beyond_P in beyond:
            positive_P = beyond_P.clamp_min(0)
            outside_P.addcmul_(positive_P, positive_P)
        distance_P = outside_P.sqrt_().add_(most_P.clamp_max(0))
        towards_P, square_P = torch.zeros_like(most_P), torch.zeros_like(most_P)
        for axis_P, beyond_P, share in zip(own, beyond, light, strict=True):
            weight_P = beyond_P.sub_(most_P).mul_(SHARPNESS).exp_()
            square_P.addcmul_(weight_P, weight_P)
            towards_P.addcmul_(weight_P, (axis_P * SHARPNESS).tanh_(), value=share)
        return distance_P, towards_P.div_(square_P.sqrt_())


def density(distance_P: Tensor) -> Tensor:
    """Return densities, in 1 / length."""
    return (distance_P * -SHARPNESS).sigmoid_().mul_(DENSITY)

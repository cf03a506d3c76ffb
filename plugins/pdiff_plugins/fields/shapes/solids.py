"""Solids as signed distances: primitives in closed form, and what is made of them. P points; z is up.

Distances are below zero inside, in the units of the coordinates, and exact to rounding (float32), with one exception:
inside a union, where its parts overlap, the magnitude is only a lower bound of the distance to the surface.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pdiff_plugins.fields.shapes.polygons import Random, polygon_distance

Solid = Callable[[Tensor], Tensor]
"""Points `[P, 3]` -> signed distances `[P]`."""


def box(points_P3: Tensor, half: tuple[float, float, float]) -> Tensor:
    """Return distances to a box around the origin, of these half sides (Quilez, Distance functions, sdBox)."""
    beyond_P3 = points_P3.abs() - torch.tensor(half)
    return beyond_P3.clamp_min(0).norm(dim=1) + beyond_P3.amax(dim=1).clamp_max(0)


def torus(points_P3: Tensor, ring: float, tube: float) -> Tensor:
    """Return distances to a ring that lies in the plane z = 0 (Quilez, sdTorus)."""
    return torch.stack([points_P3[:, :2].norm(dim=1) - ring, points_P3[:, 2]], dim=1).norm(dim=1) - tube


def arc(points_P3: Tensor, ring: float, tube: float, half_angle: float) -> Tensor:
    """Return distances to the part of such a ring up to so far (radians) from the x axis, with round ends.

    Quilez, sdCappedTorus.
    """
    x, y, z = points_P3[:, 0], points_P3[:, 1].abs(), points_P3[:, 2]
    cos, sin = math.cos(half_angle), math.sin(half_angle)
    beyond = cos * y > sin * x
    along = torch.where(beyond, cos * x + sin * y, torch.hypot(x, y))
    return (x * x + y * y + z * z + ring**2 - 2 * ring * along).clamp_min(0).sqrt() - tube


def cup(points_P3: Tensor, radius: float, half: float, wall: float) -> Tensor:
    """Return distances to a cylinder about the z axis that is hollow and open above.

    It is the solid of revolution of a polygon, a U, and so has the polygon's distance.
    """
    r, h, inner, floor = radius, half, radius - wall, wall - half
    u = [(-r, -h), (r, -h), (r, h), (inner, h), (inner, floor), (-inner, floor), (-inner, h), (-r, h)]
    return polygon_distance(torch.stack([points_P3[:, :2].norm(dim=1), points_P3[:, 2]], dim=1), torch.tensor(u))


def table(x: float, y: float, z: float, top: float, leg: float, inset: float) -> Solid:
    """Return a table: a top and four legs near its corners. All sizes are halves, but the inset."""

    def distance(points_P3: Tensor) -> Tensor:
        folded_P3 = torch.cat([points_P3[:, :2].abs(), points_P3[:, 2:]], dim=1)  # four legs are one, seen in mirrors
        plate = box(points_P3 - torch.tensor([0, 0, z - top]), (x, y, top))
        leg_near = box(folded_P3 - torch.tensor([x - leg - inset, y - leg - inset, 0]), (leg, leg, z))
        return torch.minimum(plate, leg_near)

    return distance


def mug(radius: float, half: float, wall: float, ring: float, tube: float) -> Solid:
    """Return a mug: a cup, and an arc as its handle."""
    left = -0.5 * ring

    def distance(points_P3: Tensor) -> Tensor:
        handle_P3 = (points_P3 - torch.tensor([left + radius, 0, 0]))[:, [0, 2, 1]]
        body = cup(points_P3 - torch.tensor([left, 0, 0]), radius, half, wall)
        return torch.minimum(body, arc(handle_P3, ring, tube, math.pi / 2))

    return distance


def turned(solid: Solid, random: Random) -> Solid:
    """Return the solid turned a little: up to 10 degrees about the z axis, up to 5 about the x axis."""
    turn = _turn(random.between(-10, 10), 0, 1) @ _turn(random.between(-5, 5), 1, 2)
    return lambda points_P3: solid(points_P3 @ turn)


def _turn(degrees: float, first: int, second: int) -> Tensor:
    """Return the rotation by an angle in the plane of two axes, `[3, 3]`."""
    turn, angle = torch.eye(3), math.radians(degrees)
    turn[first, first] = turn[second, second] = math.cos(angle)
    turn[second, first] = math.sin(angle)
    turn[first, second] = -turn[second, first]
    return turn

"""Rays through scenes, as examples. E rays, S scenes, B of a batch, V views of H x W pixels.

A ray is the segment on which a scene can be seen, within -1..1: where it begins, where it ends, and how far into each
of its parts samples lie, 0..1, which is drawn in training: `[B, 7]`. A segment without length shows the background.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff.data import Batch

if TYPE_CHECKING:
    from pdiff.data import About

INPUTS = 7
"""Numbers of a ray."""
MIDDLE = 0.5
"""Of a part: where samples lie but in training."""
NEVER_ZERO = 1e-12
"""Squared length that no ray is shorter than, so that it has a direction."""


@dataclass(frozen=True)
class RaySplit:
    """Rays of pictures, view by view, row by row, and the colours that each scene has there."""

    segments: Tensor
    """`[E, 6]` of cameras that all scenes share, or `[E, S, 6]`."""
    targets: Tensor
    """`[E, S, 3]`, 0..1."""
    abouts: Sequence[About]
    """What each scene is."""
    shape: tuple[int, int, int]
    """(V, H, W): E = V * H * W."""

    def __len__(self) -> int:
        return len(self.segments)

    def of_own(self, scenes: int) -> RaySplit:
        """Return the same with rays for each of so many scenes, `[E, S, 6]`."""
        if self.segments.ndim == 3:
            return self
        return replace(self, segments=self.segments[:, None].expand(-1, scenes, -1))

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the rays `index`; see `pdiff.data.Split`. Samples lie in the middles of their parts, or anywhere."""
        within: float | Tensor = torch.rand(len(index), generator=augment) if augment else MIDDLE
        return Batch(placed(self.segments[index], within), self.targets[index]).to(device)


def camera(azimuth: float, elevation: float, distance: float) -> Tensor:
    """Return the pose `[3, 4]` of a camera that looks at the origin: right, up, backwards, place (as OpenGL has it).

    Angles in radians, elevation from the plane z = 0; z is up.
    """
    flat = math.cos(elevation)
    place_3 = distance * torch.tensor(
        [flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)], dtype=torch.float64
    )
    back_3 = place_3 / place_3.norm()
    right_3 = torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), back_3)
    right_3 = right_3 / right_3.norm()
    return torch.stack([right_3, torch.linalg.cross(back_3, right_3), back_3, place_3], dim=1).float()


def rays(
    pose_34: Tensor, height: int, width: int, focal: tuple[float, float], centre: tuple[float, float],
    straight: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return where rays through the middles of pixels begin, `[3]`, and their unit directions `[H * W, 3]`.

    `focal` and `centre` are (x, y) in pixels, of a pinhole camera that looks along its own -z; `straight` undoes what a
    lens has bent, of tangents of angles to the right and down, `[H, W]`.
    """
    row_HW, column_HW = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    across, down = (column_HW - centre[0]) / focal[0], (row_HW - centre[1]) / focal[1]
    if straight:
        across, down = straight(across, down)
    own_P3 = torch.stack([across, -down, -torch.ones_like(across)], dim=-1).flatten(0, 1)
    direction_P3 = own_P3 @ pose_34[:, :3].T
    return pose_34[:, 3], direction_P3 / direction_P3.norm(dim=1, keepdim=True)


def within_ball(origin_3: Tensor, direction_P3: Tensor, radius: float = 1.0) -> Tensor:
    """Return the segments `[P, 6]` of rays within a ball about the origin; of those that miss it, without length."""
    along_P = direction_P3 @ origin_3
    half_P = (along_P.square() - origin_3 @ origin_3 + radius**2).clamp_min(0).sqrt()
    ends = [origin_3 + (step_P - along_P).clamp_min(0)[:, None] * direction_P3 for step_P in (-half_P, half_P)]
    return torch.cat(ends, dim=1)


def around(azimuths: Sequence[float], elevations: Sequence[float], side: int, distance: float, view: float) -> Tensor:
    """Return segments `[V * side * side, 6]` of cameras around the unit ball.

    Args:
        azimuths, elevations: of each camera, in radians.
        view: angle of the field of view, in radians.
    """
    focal, middle = side / 2 / math.tan(view / 2), side / 2
    return torch.cat(
        [
            within_ball(*rays(camera(azimuth, elevation, distance), side, side, (focal, focal), (middle, middle)))
            for azimuth, elevation in zip(azimuths, elevations, strict=True)
        ]
    )


def placed(segments: Tensor, within: float | Tensor = MIDDLE) -> Tensor:
    """Return segments `[B, ..., 6]` as rays `[B, ..., 7]`, their samples at one place of each part, or `[B]` places."""
    places = torch.as_tensor(within, dtype=segments.dtype).reshape(-1, *[1] * (segments.ndim - 1))
    return torch.cat([segments, places.expand(*segments.shape[:-1], 1)], dim=-1)


def parts(rays_B7: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return sampled points `[B, samples, 3]`, unit directions `[B, 3]`, and the length of a ray's parts `[B]`."""
    begin_B3, along_B3 = rays_B7[:, :3], rays_B7[:, 3:6] - rays_B7[:, :3]
    share_BN = (torch.arange(samples, device=rays_B7.device) + rays_B7[:, 6:]) / samples
    length_B = along_B3.square().sum(dim=1).clamp_min(NEVER_ZERO).sqrt()
    points_BN3 = begin_B3[:, None] + share_BN[..., None] * along_B3[:, None]
    return points_BN3, along_B3 / length_B[:, None], length_B / samples


def pictures(colours_ME3: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return colours of rays as pictures `[M, V, H, W, 3]`."""
    return colours_ME3.unflatten(1, shape)

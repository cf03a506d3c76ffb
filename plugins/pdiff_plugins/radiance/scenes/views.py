"""Procedural scenes, drawn at random, and what cameras see of them. E rays, S scenes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.data import DatasetSplits
from pdiff_plugins.radiance.rays import INPUTS, RaySplit, around, parts
from pdiff_plugins.radiance.rendering import weights
from pdiff_plugins.radiance.scenes.solids import KINDS, Thing

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff_plugins.radiance.scenes.dataset import Scenes3d

GOLDEN = 0.618034
"""Of a turn, from one camera to the next."""
DISTANCE, FIELD = 3.2, 0.7
"""Of cameras from the origin, and the angle of their field of view."""
LOWEST, HIGHEST = 0.15, 1.05
"""Elevations of cameras, in radians."""
PHASES = {"train": 0.0, "validation": 0.37, "test": 0.71}
"""Where the first camera of a split stands, in turns."""
SAMPLES = 48
"""Along the part of a ray that is near a thing."""


def cameras(count: int, phase: float) -> tuple[list[float], list[float]]:
    """Return azimuths and elevations of so many cameras, spread evenly."""
    azimuths = [2 * math.pi * ((number * GOLDEN + phase) % 1) for number in range(count)]
    return azimuths, [LOWEST + (HIGHEST - LOWEST) * (number + 0.5) / count for number in range(count)]


def drawn(count: int, generator: torch.Generator) -> list[Thing]:
    """Return random scenes, each kind as often."""
    things = []
    for number in range(count):
        red, green, blue, size, height = torch.rand(5, generator=generator).tolist()
        kind = KINDS[number % len(KINDS)]
        low, high = (0.15, 0.40) if kind == "torus" else (0.25, 0.70)
        colour = (0.1 + 0.9 * red, 0.1 + 0.9 * green, 0.1 + 0.9 * blue)
        things.append(Thing(kind, colour, 0.35 + 0.3 * size, low + (high - low) * height))
    return things


def about(thing: Thing) -> dict[str, Any]:
    """Return what a network of a scene is about."""
    red, green, blue = thing.colour
    return {
        "label": thing.kind, "kind": thing.kind, "red": red, "green": green, "blue": blue, "size": thing.size,
        "height": thing.height,
    }  # fmt: skip


def seen(thing: Thing, segments_E6: Tensor) -> Tensor:
    """Return the colours of rays through a scene, `[E, 3]`, before a white background."""
    begin_E3, along_E3 = segments_E6[:, :3], segments_E6[:, 3:] - segments_E6[:, :3]
    length_E = along_E3.norm(dim=1).clamp_min(1e-6)
    unit_E3 = along_E3 / length_E[:, None]
    near_E = -(begin_E3 * unit_E3).sum(dim=1)
    off_E = (begin_E3 + near_E[:, None] * unit_E3).norm(dim=1)
    half_E = (thing.reach**2 - off_E.square()).clamp_min(0).sqrt()
    hit = ((half_E > 0) & (length_E > 1e-5)).nonzero()[:, 0]
    ends = [begin_E3 + step_E.clamp(0)[:, None] * unit_E3 for step_E in (near_E - half_E, near_E + half_E)]
    narrow_H7 = torch.cat([*ends, torch.full((len(begin_E3), 1), 0.5)], dim=1)[hit]
    points_HN3, _, part_H = parts(narrow_H7, SAMPLES)
    density_P, colour_P3 = thing.seen(points_HN3.flatten(0, 1))
    weight_HN = weights(density_P.view(-1, SAMPLES), part_H)
    colours_E3 = torch.ones(len(begin_E3), 3)
    colour_H3 = (weight_HN[..., None] * colour_P3.view(-1, SAMPLES, 3)).sum(dim=1)
    colours_E3[hit] = colour_H3 + (1 - weight_HN.sum(dim=1, keepdim=True))
    return colours_E3


def splits(options: Scenes3d, ctx: Context) -> DatasetSplits:
    """Return all scenes in the views of each split."""
    things = drawn(options.count, ctx.generator("scenes"))
    abouts = [about(thing) for thing in things]

    def split(name: str, views: int) -> RaySplit:
        segments = around(*cameras(views, PHASES[name]), options.side, DISTANCE, FIELD)
        targets = torch.stack([seen(thing, segments) for thing in things], dim=1)
        return RaySplit(segments, targets, abouts, (views, options.side, options.side))

    counts = {"train": options.views, "validation": options.unseen, "test": options.unseen}
    return DatasetSplits(*(split(name, views) for name, views in counts.items()), (INPUTS,), 3)

"""What cameras see of procedural scenes. E rays, S scenes, H rays that hit something, N samples of each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff.data import DatasetSplits
from pdiff_plugins.radiance.rays import INPUTS, RaySplit, around
from pdiff_plugins.radiance.rendering import weights
from pdiff_plugins.radiance.scenes.drawing import Scene, attributes, drawn
from pdiff_plugins.radiance.scenes.sentences import sentences
from pdiff_plugins.radiance.scenes.solids import Thing, density

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff_plugins.radiance.scenes.dataset import Scenes3d

GOLDEN = 0.618034
"""Of a turn, from one camera to the next."""
DISTANCE, FIELD = 3.2, 0.6
"""Of cameras from the origin, and the angle of their field of view."""
LOWEST, HIGHEST = 0.15, 1.05
"""Elevations of cameras, in radians."""
PHASES = {"train": 0.0, "validation": 0.37, "test": 0.71}
"""Where the first camera of a split stands, in turns."""
STEP, COUNTED = 0.06, 16
"""Length of a ray's parts near a thing, at most, and what their number is a multiple of: ten times as many differ by
less than 0.01 in colour, since nothing is sharper than 1 / `solids.SHARPNESS`."""
MARGIN = 0.35
"""Around a thing, outside of which hardly anything is seen of it: its density there is below 0.004."""


def cameras(count: int, phase: float) -> tuple[list[float], list[float]]:
    """Return azimuths and elevations of so many cameras, spread evenly."""
    azimuths = [2 * math.pi * ((number * GOLDEN + phase) % 1) for number in range(count)]
    return azimuths, [LOWEST + (HIGHEST - LOWEST) * (number + 0.5) / count for number in range(count)]


def span(thing: Thing, begin_E3: Tensor, unit_E3: Tensor) -> tuple[Tensor, Tensor]:
    """Return where along rays a thing's surroundings begin and end, `[E]`; it ends first where they are missed."""
    sizes_3 = begin_E3.new_tensor([thing.size, thing.size, thing.height]) + MARGIN
    own_E3 = thing.turned(unit_E3)
    inverse_E3 = torch.where(own_E3.abs() < 1e-6, 1e-6, own_E3).reciprocal()
    middle_E3, half_E3 = -thing.own(begin_E3) * inverse_E3, sizes_3 * inverse_E3.abs()
    return (middle_E3 - half_E3).amax(dim=1), (middle_E3 + half_E3).amin(dim=1)


def seen(scene: Scene, segments_E6: Tensor) -> Tensor:
    """Return the colours of rays through a scene, `[E, 3]`, before a white background."""
    begin_E3, along_E3 = segments_E6[:, :3], segments_E6[:, 3:] - segments_E6[:, :3]
    length_E = along_E3.square().sum(dim=1).sqrt()
    unit_E3 = along_E3 / length_E.clamp_min(1e-6)[:, None]
    enter_E, leave_E = torch.full_like(length_E, math.inf), torch.full_like(length_E, -math.inf)
    for thing in scene.things:
        first_E, last_E = span(thing, begin_E3, unit_E3)
        first_E, last_E = first_E.clamp_min(0), torch.minimum(last_E, length_E)
        missed_E = last_E <= first_E
        enter_E = torch.minimum(enter_E, first_E.masked_fill(missed_E, math.inf))
        leave_E = torch.maximum(leave_E, last_E.masked_fill(missed_E, -math.inf))
    counts_E = ((leave_E - enter_E).clamp_min(0) / (STEP * COUNTED)).ceil().int() * COUNTED
    colours_E3 = torch.ones(len(begin_E3), 3)
    for count in counts_E.unique().tolist():
        if count:
            hit_H = (counts_E == count).nonzero()[:, 0]
            ends = enter_E[hit_H], (leave_E - enter_E)[hit_H] / count
            colours_E3[hit_H] = lit(scene, begin_E3[hit_H], unit_E3[hit_H], *ends, count)
    return colours_E3


def lit(scene: Scene, begin_H3: Tensor, unit_H3: Tensor, enter_H: Tensor, part_H: Tensor, samples: int) -> Tensor:
    """Return the colours `[H, 3]` of rays that are sampled in so many parts from a distance on."""
    far_HN = torch.addcmul(enter_H[:, None], part_H[:, None], torch.arange(samples) + 0.5)
    total_HN, shown = torch.zeros_like(far_HN), []
    for thing in scene.things:
        starts, steps = thing.own(begin_H3).unbind(1), thing.turned(unit_H3).unbind(1)
        x_HN, y_HN, z_HN = (
            torch.addcmul(start_H[:, None], far_HN, step_H[:, None])
            for start_H, step_H in zip(starts, steps, strict=True)
        )
        distance_HN, shade_HN = thing.measured((x_HN, y_HN, z_HN))
        density_HN = density(distance_HN)
        total_HN += density_HN
        shown.append(shade_HN.mul_(density_HN))
    weight_HN = weights(total_HN, part_H)
    colour_H3 = (1 - weight_HN.sum(dim=1, keepdim=True)).expand(-1, 3).clone()
    share_HN = weight_HN.div_(total_HN.clamp_min_(1e-30))
    for thing, shown_HN in zip(scene.things, shown, strict=True):
        colour_H3 += shown_HN.mul_(share_HN).sum(dim=1)[:, None] * torch.tensor(thing.colour)
    return colour_H3


def splits(options: Scenes3d, ctx: Context) -> DatasetSplits:
    """Return all scenes in the views of each split."""
    scenes, words = drawn(options, ctx.generator("scenes")), ctx.generator("sentences")
    abouts = []
    for scene in scenes:
        text, wordings = sentences(scene, options, words)
        abouts.append(attributes(scene, options.poses) | {"text": text, "wordings": wordings})

    def split(name: str, views: int) -> RaySplit:
        segments = around(*cameras(views, PHASES[name]), options.side, DISTANCE, FIELD)
        targets = torch.stack([seen(scene, segments) for scene in scenes], dim=1)
        return RaySplit(segments, targets, abouts, (views, options.side, options.side))

    counts = {"train": options.views, "validation": options.unseen, "test": options.unseen}
    train, validation, test = (split(name, views) for name, views in counts.items())
    return DatasetSplits(train, validation, test, (INPUTS,), 3)

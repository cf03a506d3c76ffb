"""Scenes drawn at random: one thing or two, and what a network of a scene is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff_plugins.radiance.scenes.solids import Thing, density
from pdiff_plugins.radiance.scenes.traits import AXES, COLOURS, DARKEST, GAP, LEAN, LEANS, SIZES, heights

if TYPE_CHECKING:
    from pdiff_plugins.radiance.scenes.dataset import Scenes3d


@dataclass(frozen=True)
class Scene:
    """One thing, or two that do not overlap."""

    things: tuple[Thing, ...]
    place: str = ""
    """Where the first is from the second: left, at a smaller x, or above."""

    def seen(self, points_P6: Tensor) -> tuple[Tensor, Tensor]:
        """Return density `[P]` and colour `[P, 3]` at points; see `rendering.Field`. Densities of two add up."""
        total_P, colour_P3 = torch.zeros(len(points_P6)), torch.zeros(len(points_P6), 3)
        for thing in self.things:
            x_P, y_P, z_P = thing.own(points_P6[:, :3]).unbind(-1)
            distance_P, shade_P = thing.measured((x_P, y_P, z_P))
            density_P = density(distance_P)
            total_P += density_P
            colour_P3 += (density_P * shade_P)[:, None] * torch.tensor(thing.colour)
        return total_P, colour_P3 / total_P.clamp_min(1e-30)[:, None]


def drawn(options: Scenes3d, generator: torch.Generator) -> list[Scene]:
    """Return random scenes, each kind (of two things: each pair) as often; in `levels` no two alike.

    The first scenes are the same however many there are.
    """
    scenes: list[Scene] = []
    known: set[Scene] = set()
    kinds = options.kinds
    while len(scenes) < options.count:
        number = len(scenes)
        chosen = (kinds[number % len(kinds)], kinds[number // len(kinds) % len(kinds)])[: options.objects]
        things = [_thing(kind, torch.rand(6, generator=generator).tolist(), options) for kind in chosen]
        place = ("left", "above")[int(2 * torch.rand((), generator=generator))] if len(things) == 2 else ""
        scene = Scene(tuple(apart(things, place) if place else things), place)
        if not options.levels or scene not in known:
            scenes.append(scene)
            known.add(scene)
    return scenes


def _thing(kind: str, shares: Sequence[float], options: Scenes3d) -> Thing:
    """Return a thing by numbers of 0..1."""
    red, green, blue, wide, high, lean = shares
    colour = (_between(DARKEST, 1, red), _between(DARKEST, 1, green), _between(DARKEST, 1, blue))
    degrees = _between(-LEAN, LEAN, lean)
    if options.levels:
        colour = list(COLOURS.values())[int(red * len(COLOURS))]
        wide, high = (int(share * options.levels) / (options.levels - 1) for share in (wide, high))
        degrees = LEANS[int(lean * len(LEANS))]
    size, height = _between(*SIZES[options.objects], wide), _between(*heights(kind, options.objects), high)
    return Thing(kind, colour, size, height, degrees if options.poses else 0.0)


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def apart(things: Sequence[Thing], place: str) -> list[Thing]:
    """Return two things so that there is a gap between them, and the origin in its middle."""
    axis, side = AXES[place]
    placed = []
    for thing, direction in zip(things, (side, -side), strict=True):
        centre = [0.0, 0.0, 0.0]
        centre[axis] = direction * (GAP / 2 + thing.extent(axis))
        placed.append(replace(thing, centre=(centre[0], centre[1], centre[2])))
    return placed


def attributes(scene: Scene, poses: bool) -> dict[str, Any]:
    """Return a scene in numbers and words; of a second thing they are named `kind_2` and so on."""
    named: dict[str, Any] = {"label": " and ".join(thing.kind for thing in scene.things)}
    for thing, end in zip(scene.things, ("", "_2"), strict=False):
        red, green, blue = thing.colour
        own = {
            "kind": thing.kind, "red": red, "green": green, "blue": blue, "size": thing.size, "height": thing.height
        }  # fmt: skip
        named |= {key + end: value for key, value in (own | ({"lean": thing.lean} if poses else {})).items()}
    return named | ({"place": scene.place} if scene.place else {})

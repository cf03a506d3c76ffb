"""What things in scenes can be: colours, sizes, heights, leans and places."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pdiff_plugins.radiance.scenes.dataset import Scenes3d

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.12, 0.12), "orange": (0.95, 0.52, 0.10), "yellow": (0.95, 0.90, 0.15),
    "green": (0.15, 0.62, 0.20), "cyan": (0.15, 0.80, 0.85), "blue": (0.15, 0.25, 0.85),
    "purple": (0.52, 0.12, 0.72), "pink": (0.95, 0.55, 0.80), "grey": (0.55, 0.55, 0.55), "black": (0.12, 0.12, 0.12),
}  # fmt: skip
"""Colours that have a name: in `levels`, the only ones."""
DARKEST = 0.1
"""Least red, green and blue of other colours."""
SIZES = {1: (0.32, 0.50), 2: (0.17, 0.25)}
HEIGHTS = {1: (0.18, 0.47), 2: (0.11, 0.26)}
LOWER = {1: (0.09, 0.20), 2: (0.06, 0.13)}
"""Least and most half width and half height by the number of things, and half height of tori, which are lower: so all
that there is lies in the unit ball."""
LEAN, LEANS = 35.0, (-30.0, 0.0, 30.0)
"""Degrees: most in either direction, and in `levels` the only ones."""
GAP = 0.2
"""Between two things."""
AXES = {"left": (0, -1), "above": (2, 1)}
"""By the place of the first of two things: the axis along which they lie, and on which side the first is."""


def heights(kind: str, objects: int) -> tuple[float, float]:
    """Return the least and the most half height of things of a kind."""
    return (LOWER if kind == "torus" else HEIGHTS)[objects]


def combinations(options: Scenes3d) -> int:
    """Return how many scenes there are in `levels`."""
    each = len(options.kinds) * len(COLOURS) * options.levels**2 * (len(LEANS) if options.poses else 1)
    return int(each) if options.objects == 1 else len(AXES) * each**2

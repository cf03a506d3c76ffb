"""What a scene's files say, read: views, each a picture, a lens and a pose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "validation", "test")
Pose = NDArray[np.float64]
"""`[3, 4]`: right, up, backwards, place, as OpenGL has it."""


@dataclass(frozen=True)
class Lens:
    """A camera that sees straight, but for what its lens bends; lengths in pixels of the picture."""

    width: int
    height: int
    focal: tuple[float, float]
    centre: tuple[float, float]
    """From the upper left corner of the picture."""
    bent: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """OpenCV's k1, k2, p1, p2, k3."""

    def resized(self, side: int) -> Lens:
        """Return that of the picture's middle square, resized to so many pixels; 0: as it is."""
        if not side:
            return self
        least = min(self.width, self.height)
        left, top, by = (self.width - least) / 2, (self.height - least) / 2, side / least
        centre = ((self.centre[0] - left) * by, (self.centre[1] - top) * by)
        return Lens(side, side, (self.focal[0] * by, self.focal[1] * by), centre, self.bent)


@dataclass(frozen=True, eq=False)
class View:
    """A picture, and where its camera stood."""

    file: Path
    pose: Pose
    lens: Lens


@dataclass(frozen=True)
class Capture:
    """One scene."""

    folder: Path
    views: Mapping[str, list[View]]
    """By split."""
    about: Mapping[str, Any]
    placing: Mapping[str, Any]
    """What its file says of `scale`, `offset` and `aabb_scale`."""

"""Captures as tests write them: pictures of scenes3d's things, in the formats of other programs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pdiff.context import Context
from pdiff_plugins.radiance.captures.dataset import PosedImages
from pdiff_plugins.radiance.rays import around, camera
from pdiff_plugins.radiance.scenes.drawing import Scene
from pdiff_plugins.radiance.scenes.solids import Thing
from pdiff_plugins.radiance.scenes.views import cameras, seen

THING = Thing("box", (0.9, 0.4, 0.2), 0.5, 0.4)
DISTANCE, VIEW = 3.2, 0.7
FOCAL = 1 / 2 / math.tan(VIEW / 2)
"""As a share of a picture's side."""


def pose(azimuth, elevation, scale=1.0, offset=(0.0, 0.0, 0.0)):
    """Return a 4x4 matrix as such files have it; its place is scaled and moved."""
    matrix = torch.eye(4)
    matrix[:3] = camera(azimuth, elevation, DISTANCE)
    matrix[:3, 3] = matrix[:3, 3] * scale + torch.tensor(offset)
    return matrix.tolist()


def write(folder, views=10, side=8, thing=THING, phase=0.0, told=None, **placed):
    """Write transforms.json and pictures; return the views' segments `[V, P, 6]` and colours `[V, P, 3]`."""
    (folder / "images").mkdir(parents=True)
    azimuths, elevations = cameras(views, phase)
    segments = around(azimuths, elevations, side, DISTANCE, VIEW)
    colours = seen(Scene((thing,)), segments)
    frames = []
    for number, pixels in enumerate((colours * 255).round().byte().view(views, side, side, 3)):
        Image.fromarray(pixels.numpy()).save(folder / "images" / f"{number}.png")
        matrix = pose(azimuths[number], elevations[number], **placed)
        frames.append({"file_path": f"images/{number}.png", "transform_matrix": matrix})
    edit(folder, lambda given: given.update({"camera_angle_x": VIEW, "frames": frames} | (told or {})))
    return segments.unflatten(0, (views, -1)), colours.unflatten(0, (views, -1))


def edit(folder, change, name="transforms.json"):
    """Change what a file says."""
    file = Path(folder) / name
    given = json.loads(file.read_text()) if file.is_file() else {}
    change(given)
    file.write_text(json.dumps(given))


def load(root, warn=print, **options):
    """Return the splits of a folder; places are taken as they are, unless told."""
    dataset = PosedImages(root=str(root), **{"scale": 1.0} | options)
    return dataset.load(Context(seed=0, data_root=Path("/nowhere"), warn=warn))


def opencv(points_P2, fx, fy, cx, cy, k1, k2, p1, p2, k3=0.0):
    """Return pixels `[P, 2]` of points on the plane at depth 1, y down: OpenCV's documented formula, one at a time."""
    pixels = []
    for x, y in points_P2.tolist():
        r = math.hypot(x, y)
        radial = 1 + k1 * r**2 + k2 * r**4 + k3 * r**6
        u = x * radial + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2)
        v = y * radial + p1 * (r**2 + 2 * y**2) + 2 * p2 * x * y
        pixels.append((fx * u + cx, fy * v + cy))
    return np.array(pixels)

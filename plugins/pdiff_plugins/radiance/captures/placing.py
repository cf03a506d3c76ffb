"""Where scenes lie: moved and scaled into the ball of radius 1, and cut to as many views each.  V views."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pdiff.errors import Faults, UserError
from pdiff_plugins.radiance.captures.folder import captures
from pdiff_plugins.radiance.captures.scene import Capture, View

if TYPE_CHECKING:
    from pdiff_plugins.radiance.captures.dataset import PosedImages

PARALLEL = 1e-4
"""Least spread of optical axes: the smallest eigenvalue of the mean of 1 - d d^T."""


def ready(options: PosedImages, root: Path) -> list[Capture]:
    """Return the scenes of a folder, in place. Raises Faults with a line for each thing that is wrong."""
    placed, faults = list[Capture](), list[str]()
    for capture in captures(root, options.hold):
        try:
            placed.append(_placed(options, capture))
        except UserError as error:
            faults.append(str(error))
    sizes: dict[tuple[int, int], Path] = {}
    for capture in placed:
        for view in (view for views in capture.views.values() for view in views):
            sizes.setdefault((view.lens.width, view.lens.height), view.file)
    if len(sizes) > 1 and not options.side:
        (first, one), (second, other) = list(sizes.items())[:2]
        faults.append(
            f"dataset.side: {one} has {first[0]} x {first[1]} pixels and {other} {second[0]} x {second[1]}; set it, so "
            "that all are resized to one size"
        )
    if faults:
        raise Faults(faults)
    return placed


def _placed(options: PosedImages, capture: Capture) -> Capture:
    """Return a scene in place. Raises UserError where its cameras say no place."""
    if options.scale == "file":
        scale, offset = _of_file(capture)
    elif options.scale == "auto":
        poses = np.stack([view.pose for views in capture.views.values() for view in views])
        scale, offset = _of_cameras(poses, options.distance, capture.folder)
    else:
        scale, offset = float(options.scale), np.asarray(options.offset)

    def moved(view: View) -> View:
        pose = np.concatenate([view.pose[:, :3], scale * view.pose[:, 3:] + offset[:, None]], axis=1)
        return replace(view, pose=pose)

    return replace(capture, views={split: [*map(moved, views)] for split, views in capture.views.items()})


def _of_file(capture: Capture) -> tuple[float, np.ndarray]:
    """Return scale and offset that lay instant-ngp's box, 0.5 - aabb_scale / 2 to 0.5 + aabb_scale / 2, into -1..1.

    instant-ngp takes places times `scale` plus `offset`; 0.33 and 0.5 unless the file says so.
    """
    placing = capture.placing
    try:
        scale, side = float(placing.get("scale", 0.33)), float(placing.get("aabb_scale", 1))
        offset = np.broadcast_to(np.asarray(placing.get("offset", 0.5), dtype=np.float64), 3)
    except (TypeError, ValueError):
        scale, side, offset = 0.0, 0.0, np.zeros(3)
    if not scale > 0 or not side > 0 or not np.isfinite([scale, side, *offset]).all():
        raise UserError(
            f"{capture.folder}: scale, offset or aabb_scale of its transforms are no numbers above 0, or not three; "
            "mend them, or set dataset.scale = 'auto'"
        )
    return 2 * scale / side, 2 * (offset - 0.5) / side


def _of_cameras(poses_V34: np.ndarray, distance: float, folder: Path) -> tuple[float, np.ndarray]:
    """Return scale and offset that put the point nearest to all optical axes into the origin, least squares."""
    place_V3, axis_V3 = poses_V34[:, :, 3], -poses_V34[:, :, 2]
    axis_V3 = axis_V3 / np.linalg.norm(axis_V3, axis=1, keepdims=True)
    across_V33 = np.eye(3) - axis_V3[:, :, None] * axis_V3[:, None, :]
    step = "set dataset.scale and dataset.offset"
    if np.linalg.eigvalsh(across_V33.mean(axis=0))[0] < PARALLEL:
        raise UserError(f"{folder}: its cameras all look the same way, so that they look at no one point; {step}")
    middle_3 = np.linalg.solve(across_V33.sum(axis=0), np.einsum("vij,vj->i", across_V33, place_V3))
    from_V3 = place_V3 - middle_3
    if not -(from_V3 * axis_V3).sum(axis=1).mean() > 0:
        raise UserError(f"{folder}: its cameras look away from each other, not at one point; {step}, and near and far")
    scale = distance / np.linalg.norm(from_V3, axis=1).mean()
    return float(scale), -scale * middle_3

"""Files of posed pictures: transforms.json, its frames and its lenses, with all that is wrong with them told at once.

instant-ngp, docs/nerf_dataset_tips.md; nerfstudio, quickstart/data_conventions; NeRF's Blender scenes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pdiff.errors import UserError
from pdiff_plugins.radiance.captures.scene import Lens, Pose, View

ENDINGS = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")
STRAIGHT = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "RADIAL", "SIMPLE_RADIAL", "PERSPECTIVE")
NAMED = {"train": "train_filenames", "validation": "val_filenames", "test": "test_filenames"}
FOCALS = {axis: (f"fl_{axis}", f"camera_angle_{axis}", f"{axis}_fov") for axis in "xy"}
"""Keys of focal lengths, the first that is there counts: in pixels, as an angle, as an angle in degrees."""
BENDS = ("k1", "k2", "p1", "p2", "k3")
PLACING = ("scale", "offset", "aabb_scale")
SKEW = 1e-2
"""How far a matrix may be from a rotation, in every entry of its product with itself."""


@dataclass
class Told:
    """What a file says."""

    views: dict[str, View] = field(default_factory=dict)
    """By the name that it gives the picture."""
    named: dict[str, list[View]] = field(default_factory=dict)
    """Those of splits that it names."""
    placing: dict[str, Any] = field(default_factory=dict)


def pictures_in(path: Path) -> Iterator[Path]:
    """Yield the pictures that a file names, there or not."""
    given = _json(path, [])
    frames = given.get("frames") if isinstance(given, dict) else None
    for frame in frames if isinstance(frames, list) else ():
        if isinstance(frame, dict) and isinstance(name := frame.get("file_path"), str):
            yield _picture(path, name)


def read(path: Path, faults: list[str]) -> Told:
    """Return what a file says; what is wrong with it is added to `faults`, a line each."""
    told, given = Told(), _json(path, faults)
    if given is None:
        return told
    frames = given.get("frames") if isinstance(given, dict) else None
    if not isinstance(frames, list) or not frames:
        faults.append(f"{path}: frames: none; give a list of frames, each with file_path and transform_matrix")
        return told
    for number, frame in enumerate(frames):
        try:
            name, view = _view(path, f"frames[{number}]", frame, given)
            if name in told.views:
                raise UserError(f"{path}: frames[{number}].file_path = {name!r}: another frame has it, too; give one")
            told.views[name] = view
        except UserError as error:
            if str(error) not in faults[-len(frames) :]:  # what is wrong with all frames is said once
                faults.append(str(error))
    told.placing = {key: given[key] for key in PLACING if key in given}
    if len(told.views) == len(frames):
        told.named = _named(path, given, told.views, faults)
    return told


def _json(path: Path, faults: list[str]) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        faults.append(f"{path}: no JSON ({error}); mend it, or write it again")
        return None


def _named(path: Path, given: Mapping[str, Any], views: Mapping[str, View], faults: list[str]) -> dict[str, list[View]]:
    """Return the views of splits that nerfstudio's lists name; frames that stand in none are not used."""
    named: dict[str, list[View]] = {}
    if not any(given.get(key) for key in NAMED.values()):
        return named
    for split, key in NAMED.items():
        names = [_plain(str(name)) for name in given.get(key) or ()]
        missing = [name for name in names if name not in views]
        if missing:
            faults.append(f"{path}: {key}: {missing[0]!r} is no frame's file_path ({len(missing)} such); mend the list")
        named[split] = [views[name] for name in names if name in views]
    return named


def _view(path: Path, key: str, frame: Any, given: Mapping[str, Any]) -> tuple[str, View]:
    """Return a frame's name and its view. Raises UserError."""
    if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
        raise UserError(f"{path}: {key}.file_path: missing; name the picture, relative to the file")
    name = _plain(frame["file_path"])
    pose = _pose(f"{path}: {key}.transform_matrix", frame.get("transform_matrix"))
    file = _picture(path, frame["file_path"])
    if not file.is_file():
        raise UserError(f"{path}: {key}.file_path = {name!r}: {file} is missing; put the picture there")
    return name, View(file, pose, _lens(path, key, frame, given, file))


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _picture(path: Path, name: str) -> Path:
    """Return the file of a picture, whose name may lack its ending."""
    file = path.parent / _plain(name)
    tried = (file.with_name(file.name + ending) for ending in ENDINGS)
    return file if file.is_file() else next((each for each in tried if each.is_file()), file)


def _pose(where: str, given: Any) -> Pose:
    """Return a pose. Raises UserError where it is no 4x4 matrix of a rotation and a place."""
    try:
        matrix = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        shape = "x".join(map(str, matrix.shape)) or "no numbers"
        what = "missing" if given is None else f"{shape}, or not finite"
        raise UserError(f"{where}: {what}; give a 4x4 matrix, camera to world")
    turn = matrix[:3, :3]
    off = float(np.abs(turn @ turn.T - np.eye(3)).max())
    if off > SKEW or np.linalg.det(turn) < 0 or np.abs(matrix[3] - [0, 0, 0, 1]).max() > SKEW:
        what = "is mirrored" if off <= SKEW else f"is off by {off:.3g}"
        raise UserError(f"{where}: its 3x3 part is no rotation ({what}); give camera to world, without scaling")
    return matrix[:3]


def _lens(path: Path, key: str, frame: Mapping[str, Any], given: Mapping[str, Any], file: Path) -> Lens:
    """Return a frame's lens: what it says itself comes before what is said for all. Raises UserError."""
    said = {**given, **frame}
    model = str(said.get("camera_model", "OPENCV")).upper()
    if model not in STRAIGHT or said.get("is_fisheye"):
        raise UserError(
            f"{path}: camera_model = {'fisheye' if said.get('is_fisheye') else model}: only cameras that see straight "
            f"lines are read ({', '.join(STRAIGHT[:3])}); undistort the pictures, as colmap image_undistorter does"
        )
    try:
        with Image.open(file) as picture:
            width, height = picture.size
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f"{file}: no readable picture ({' '.join(str(error).split())[:120]}); replace it") from None
    for name, size in (("w", width), ("h", height)):
        if name in said and round(_number(path, name, said)) != size:
            where, what = (f"{key}: ", f"{file.name} has") if name in frame else ("", "its pictures have")
            raise UserError(
                f"{path}: {where}{name} = {said[name]}, and {what} {width} x {height} pixels; give the size of "
                "the pictures that are there, and the lens in their pixels"
            )
    focals = frame if any(key in frame for keys in FOCALS.values() for key in keys) else given
    across, down = _focal(path, focals, "x", width), _focal(path, focals, "y", height)
    if across is None and down is None:
        raise UserError(f"{path}: fl_x: missing, as is camera_angle_x; give the focal length, in pixels")
    focal = (across or down or 0.0, down or across or 0.0)
    centre = (_number(path, "cx", said, width / 2), _number(path, "cy", said, height / 2))
    if _number(path, "k4", said, 0.0):
        raise UserError(f"{path}: k4 = {said['k4']}: lenses have k1, k2, p1, p2 and k3 here; undistort the pictures")
    k1, k2, p1, p2, k3 = (_number(path, name, said, 0.0) for name in BENDS)
    return Lens(width, height, focal, centre, (k1, k2, p1, p2, k3))


def _focal(path: Path, said: Mapping[str, Any], axis: str, size: int) -> float | None:
    """Return a focal length in pixels; None where nothing is said of it."""
    key = next((key for key in FOCALS[axis] if key in said), None)
    if key is None:
        return None
    number = _number(path, key, said)
    if not key.startswith("fl"):
        angle = math.radians(number) if key.endswith("fov") else number
        number = size / 2 / math.tan(angle / 2) if 0 < angle < math.pi else 0.0
    if not number > 0:
        raise UserError(f"{path}: {key} = {said[key]}: gives no focal length above 0; mend it")
    return number


def _number(path: Path, key: str, said: Mapping[str, Any], default: float | None = None) -> float:
    value = said.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{path}: {key} = {value!r}: is no number; mend it")
    return float(value)

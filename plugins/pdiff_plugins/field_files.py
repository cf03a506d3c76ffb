"""Files of meshes: read through trimesh, with all that is wrong with them told at once; and written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pdiff.errors import Faults, UserError
from pdiff_plugins.field_folder import FILLED
from pdiff_plugins.field_meshes import Mesh
from pdiff_plugins.field_space import require

if TYPE_CHECKING:
    from pdiff.context import Context


def read_all(files: list[Path], ctx: Context) -> list[Mesh]:
    """Return the meshes, each filling the cube -1..1, and warn of those that are not closed.

    Raises UserError where trimesh is missing, and Faults with a line for each file that cannot be used.
    """
    require("trimesh", "dataset mesh_folder")
    meshes, faults, open_ones = [], [], []
    for file in files:
        try:
            mesh, closed = read(file)
        except UserError as error:
            faults.append(str(error))
            continue
        meshes.append(mesh)
        open_ones += [] if closed else [file]
    if faults:
        raise Faults(faults)
    for file in open_ones:
        ctx.warn(f"{file}: is not watertight; what is inside is told by its winding number, and its holes are closed")
    return meshes


def read(file: Path) -> tuple[Mesh, bool]:
    """Return a mesh that fills the cube, and whether it is closed. Raises UserError where it cannot be read."""
    import trimesh

    try:
        found = trimesh.load_mesh(file)
        vertices, faces = np.asarray(found.vertices, np.float64), np.asarray(found.faces, np.int64)
    except Exception as error:  # a damaged file can fail in any way
        why = " ".join(f"{type(error).__name__} {error}".split())[:120]
        raise UserError(f"{file}: cannot be read as a mesh ({why}); mend it or remove it") from None
    if not len(faces) or not np.isfinite(vertices).all():
        lacks = "holds vertices that are NaN or Inf" if len(faces) else "holds no triangles"
        raise UserError(f"{file}: {lacks}; mend it or remove it")
    return Mesh(fitted(vertices), faces), bool(found.is_watertight)


def fitted(vertices_V3: np.ndarray) -> np.ndarray:
    """Return vertices moved and scaled so that the longest side of their box fills the cube, `[V, 3]` in float32."""
    low, high = vertices_V3.min(axis=0), vertices_V3.max(axis=0)
    size = (high - low).max()
    return ((vertices_V3 - (low + high) / 2) * (2 * FILLED / size if size > 0 else 1)).astype(np.float32)


def write(mesh: Mesh, path: Path) -> None:
    """Write a mesh; the file's name says how: .ply, .obj, .glb. Raises UserError where trimesh is missing."""
    require("trimesh", "report meshes")
    import trimesh

    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(path)

"""Files of meshes: read through trimesh, with all that is wrong with them told at once; and written.

V vertices, S shapes, P points of a grid.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pdiff.errors import Faults, UserError
from pdiff.files import write_bytes
from pdiff_plugins.fields.shapes.folder import FILLED
from pdiff_plugins.fields.shapes.space import require
from pdiff_plugins.fields.surfaces.meshes import Mesh

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context

LEAST_AREA = 1e-6
"""Of a mesh that fills the cube. Points on a line have up to about 1e-7, for they are rounded to float32."""
NAMED = 3
"""So many files are named in a warning."""


def read_all(files: list[Path]) -> tuple[list[Mesh], list[bool]]:
    """Return the meshes, each filling the cube -1..1, and which are closed.

    Raises UserError where trimesh is missing, and Faults with a line for each file that cannot be used.
    """
    require("trimesh", "dataset mesh_folder")
    meshes, faults = [], []
    for file in files:
        try:
            meshes.append(read(file))
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise Faults(faults)
    return [mesh for mesh, _ in meshes], [closed for _, closed in meshes]


def warn_of_gaps(names: list[str], closed_S: Tensor, inside_SP: Tensor, ctx: Context) -> None:
    """Warn, in a line each, of meshes that are not closed and of those without any point of the grid inside."""
    empty_S = ~inside_SP.any(dim=1)
    if not closed_S.all():
        how = "what is inside is told by their winding number, and holes are closed"
        ctx.warn(f"dataset.root: {_some(names, ~closed_S)} not watertight; {how}")
    if empty_S.any():
        how = "raise dataset.resolution, or mend or remove them"
        ctx.warn(f"dataset.root: {_some(names, empty_S)} without any point of the grid inside; {how}")


def _some(names: list[str], which_S: Tensor) -> str:
    """Return `2 of 7 meshes (a.ply, b.ply)`, the first of them by name."""
    meant = [name for name, chosen in zip(names, which_S.tolist(), strict=True) if chosen]
    more = ", ..." if len(meant) > NAMED else ""
    return f"{len(meant)} of {len(names)} meshes ({', '.join(meant[:NAMED])}{more})"


def read(file: Path) -> tuple[Mesh, bool]:
    """Return a mesh that fills the cube, and whether it is closed. Raises UserError where it cannot be used."""
    import trimesh

    try:
        loaded = trimesh.load_mesh(file)
        vertices, faces = np.asarray(loaded.vertices, np.float64), np.asarray(loaded.faces, np.int64)
    except Exception as error:  # a damaged file can fail in any way
        why = " ".join(f"{type(error).__name__} {error}".split())[:120]
        raise UserError(f"{file}: cannot be read as a mesh ({why}); mend it or remove it") from None
    if not len(faces) or not np.isfinite(vertices).all():
        lacks = "holds vertices that are NaN or Inf" if len(faces) else "holds no triangles"
        raise UserError(f"{file}: {lacks}; mend it or remove it")
    mesh = Mesh(fitted(vertices), faces)
    if not trimesh.triangles.area(mesh.corners.astype(np.float64)).sum() > LEAST_AREA:
        raise UserError(f"{file}: its triangles have no area; mend it or remove it")
    return mesh, bool(loaded.is_watertight)


def fitted(vertices_V3: np.ndarray) -> np.ndarray:
    """Return vertices moved and scaled so that the longest side of their box fills the cube, `[V, 3]` in float32."""
    low, high = vertices_V3.min(axis=0), vertices_V3.max(axis=0)
    size = (high - low).max()
    return ((vertices_V3 - (low + high) / 2) * (2 * FILLED / size if size > 0 else 1)).astype(np.float32)


def write(mesh: Mesh, path: Path) -> None:
    """Write a mesh; the file's name says how: .ply, .obj, .glb; an .obj has no colours.

    Raises UserError where trimesh is missing, or the file cannot be written.
    """
    require("trimesh", "report meshes")
    import trimesh

    colours = None if path.suffix == ".obj" else mesh.colours
    made = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colours, process=False)
    data: Any = made.export(file_type=path.suffix.removeprefix("."))  # text of an .obj, bytes of the others
    write_bytes(path, data.encode() if isinstance(data, str) else data)

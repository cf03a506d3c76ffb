"""The data set of the user's own meshes. P points of a grid, Q points near a surface, S shapes."""

from __future__ import annotations

import hashlib
import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import NEVER, Dataset
from pdiff.errors import UserError
from pdiff.files import folder_below
from pdiff_plugins.fields.shapes.space import foresee_extra, require

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.data import DatasetSplits
    from pdiff_plugins.fields.surfaces.meshes import Mesh

KINDS = (".obj", ".ply", ".off", ".stl")
FILLED = 0.9
"""Half of the longest side of a mesh, as it lies in the cube -1..1."""
FEWEST, MOST = 5, 100_000
"""Meshes at least; files and folders that are looked at, at most."""


class MeshFolder(Dataset):
    """Your own meshes: a folder of .obj, .ply, .off or .stl files, as occupancy.

    Each mesh is moved and scaled to fill the cube. A point is inside where the winding number is above a half, which
    needs no closed mesh: holes are closed as smoothly as can be. What is found is kept in run.data/mesh_folder.
    """

    name = "mesh_folder"
    dim: ClassVar[int] = 3
    source: ClassVar[str] = (
        "points: HyperDiffusion, arXiv 2303.17015, section 3.1; inside: Jacobson et al. 2013, Robust inside-outside "
        "segmentation using generalized winding numbers"
    )
    root: str = Field(
        min_length=1,
        examples=["meshes"],
        json_schema_extra=NEVER,
        description="folder of meshes; its subfolders, if any, are the classes; relative to run.data",
    )
    resolution: int = Field(32, ge=8, description="points along each side of the cube on which shapes are known")
    near: int = Field(8192, ge=0, description="further points of each shape, close to its surface")
    jitter: float = Field(0.02, gt=0, description="standard deviation of their distance from the surface")
    validation: float = Field(0.05, ge=0, lt=1, description="share of the train shapes held out for selection")
    test: float = Field(0.2, gt=0, lt=1, description="share of the shapes that are the test split, drawn at random")

    def content(self, data_root: Path) -> str:
        """Return a digest of the files' names, for folders are classes, and of their bytes."""
        from pdiff.files import digest_of

        files = self.files(data_root)
        listing = "\n".join(f"{self._name(file, data_root)} {digest_of(str(file))}" for file in files)
        return hashlib.sha256(os.fsencode(listing)).hexdigest()

    def _folder(self, data_root: Path) -> Path:
        return folder_below(data_root, self.root)

    def _name(self, file: Path, data_root: Path) -> str:
        return file.relative_to(self._folder(data_root)).as_posix()

    def files(self, data_root: Path) -> list[Path]:
        """Return the files of meshes. Raises UserError when there are too few."""
        root = self._folder(data_root)
        if not root.is_dir():
            raise UserError(f"dataset.root = {self.root!r}: {root} is no folder; put meshes there, or name another")
        paths = list(islice(root.rglob("*"), MOST + 1))
        if len(paths) > MOST:
            raise UserError(f"dataset.root: {root} holds over {MOST:,} files; name the folder of the meshes alone")
        files = sorted(file for file in paths if file.suffix.lower() in KINDS and file.is_file())
        if len(files) < FEWEST:
            kinds = ", ".join(KINDS)
            raise UserError(f"dataset.root: {root} holds {len(files)} meshes ({kinds}); put at least {FEWEST} there")
        return files

    def foresee(self, ahead: Ahead) -> None:
        foresee_extra(ahead)
        require("trimesh", "dataset mesh_folder")
        self.files(ahead.data_root)

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. Raises UserError where files cannot be used, naming all, or none is left to train on."""
        import torch

        from pdiff_plugins.fields.shapes.files import warn_of_gaps
        from pdiff_plugins.fields.shapes.plane import Near, cut
        from pdiff_plugins.fields.shapes.polygons import grid

        files = self.files(ctx.data_root)
        folders = sorted({file.parent for file in files})
        labels_S = torch.tensor([folders.index(file.parent) for file in files])
        known = self._known(files, ctx)
        warn_of_gaps([self._name(file, ctx.data_root) for file in files], known["closed"], known["grid"], ctx)
        order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0))
        near = Near(known["points"][order], known["inside"][order].float()) if self.near else None
        targets_PS = known["grid"][order].float().T
        tests = max(1, round(self.test * len(files)))
        return cut(grid(self.resolution, 3), targets_PS, labels_S[order], tests, self.validation, ctx, near)

    def _known(self, files: list[Path], ctx: Context) -> dict[str, Tensor]:
        """Return what `_inside` gives of each mesh, and `closed`, `[S]`; from the folder of data where it is there."""
        from pdiff.files import load_tensors, make_folder, save_tensors

        asked = f"{self.content(ctx.data_root)} {self.resolution} {self.near} {self.jitter}"
        file = ctx.data_root / "mesh_folder" / f"{hashlib.sha256(asked.encode()).hexdigest()[:16]}.safetensors"
        if not file.is_file():
            make_folder(file.parent)
            save_tensors(file, self._sampled(files, ctx))
        return load_tensors(file)

    def _sampled(self, files: list[Path], ctx: Context) -> dict[str, Tensor]:
        import torch

        from pdiff_plugins.fields.shapes.files import read_all

        meshes, closed = read_all(files)
        with ctx.progress.step("meshes", len(meshes)) as bar:
            rows = []
            for number, mesh in enumerate(meshes):
                rows.append(self._inside(mesh, torch.Generator().manual_seed(number), ctx.device))
                bar.advance()
        return {key: torch.stack([row[key] for row in rows]) for key in rows[0]} | {"closed": torch.tensor(closed)}

    def _inside(self, mesh: Mesh, generator: torch.Generator, device: torch.device) -> dict[str, Tensor]:
        """Return which points of the grid are inside, `[P]`, points near the surface, `[Q, 3]`, and which of those."""
        import torch

        from pdiff_plugins.fields.shapes.polygons import grid
        from pdiff_plugins.fields.shapes.winding import winding_number
        from pdiff_plugins.fields.surfaces.meshes import surface_points

        close_Q3 = surface_points(mesh, max(1, self.near), generator)[: self.near]
        close_Q3 = close_Q3 + self.jitter * torch.randn(close_Q3.shape, generator=generator)
        points = torch.cat([grid(self.resolution, 3), close_Q3]).to(device)
        triangles = torch.from_numpy(mesh.vertices).to(device), torch.from_numpy(mesh.faces).to(device)
        inside = winding_number(points, *triangles).abs().cpu() > 0.5
        count = self.resolution**3
        return {"grid": inside[:count], "points": close_Q3, "inside": inside[count:]}

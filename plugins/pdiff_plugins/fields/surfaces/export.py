"""The report that writes generated shapes and scenes as meshes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pdiff.components import IF_SET, Report
from pdiff.errors import UserError
from pdiff_plugins.fields.shapes.space import require

if TYPE_CHECKING:
    from pdiff.components import Ahead
    from pdiff.view import View


class Meshes(Report):
    """Generated shapes in space, or scenes, as files for other programs, meshes/.

    Scenes have their colours at the vertices, as seen from outside; an .obj has none. A network without any surface
    gives no file; its number is left out.
    """

    name = "meshes"
    format: Literal["ply", "obj", "glb"] = Field("ply", description="kind of file")
    samples: int = Field(16, gt=0, description="so many of the method's networks, the first ones")
    side: int = Field(64, ge=8, description="cells along each side of the grid on which surfaces are found")
    level: float = Field(
        0.65, gt=0, lt=1, json_schema_extra=IF_SET,
        description="of scenes: the surface is where density reaches this share of a network's greatest",
    )  # fmt: skip

    def foresee(self, ahead: Ahead) -> None:
        for package in ("skimage", "trimesh"):
            require(package, "report meshes")

    def render(self, view: View, out: Path) -> list[Path]:
        """See `Report.render`. Raises UserError where the run has nothing in space, or trimesh is missing."""
        from pdiff_plugins.fields.evaluation.pictures import renderer_of
        from pdiff_plugins.fields.shapes.files import write

        draw = renderer_of(view.recipe, view.bench, "report meshes")
        if draw.dim != 3:
            raise UserError("report meshes: writes shapes in space, and this run has none; leave it out")
        if draw.colour and self.format == "obj":
            view.warn("report meshes: format = 'obj' holds no colours; take 'ply' or 'glb' for them")
        (out / "meshes").mkdir(parents=True, exist_ok=True)
        paths = []
        theta_MD = view.theta[view.method][: self.samples]
        for number, mesh in enumerate(draw.meshes(theta_MD, self.side, self.level), start=1):
            if len(mesh):
                paths.append(out / "meshes" / f"{view.method}-{number:03}.{self.format}")
                write(mesh, paths[-1])
        return paths

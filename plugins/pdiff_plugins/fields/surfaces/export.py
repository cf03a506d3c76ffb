"""The report that writes generated shapes as meshes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pdiff.components import Report
from pdiff.errors import UserError
from pdiff_plugins.fields.shapes.space import require

if TYPE_CHECKING:
    from pdiff.components import Ahead
    from pdiff.view import View


class Meshes(Report):
    """Generated shapes in space as files for other programs, meshes/.

    A network without any surface gives no file; its number is left out.
    """

    name = "meshes"
    format: Literal["ply", "obj", "glb"] = Field("ply", description="kind of file")
    samples: int = Field(16, gt=0, description="so many of the method's networks, the first ones")
    side: int = Field(64, ge=8, description="cells along each side of the grid on which surfaces are found")

    def foresee(self, ahead: Ahead) -> None:
        for package in ("skimage", "trimesh"):
            require(package, "report meshes")

    def render(self, view: View, out: Path) -> list[Path]:
        """See `Report.render`. Raises UserError where the run has no shapes in space, or trimesh is missing."""
        from pdiff_plugins.fields.evaluation.pictures import Renderer, dimensions
        from pdiff_plugins.fields.shapes.files import write
        from pdiff_plugins.fields.surfaces.meshes import surface
        from pdiff_plugins.fields.task import FieldTask

        task = view.recipe.task
        if not isinstance(task, FieldTask) or dimensions(view.recipe.dataset) != 3:
            raise UserError("report meshes: writes shapes in space, and this run has none; leave it out")
        draw = Renderer(view.recipe, view.bench)
        values_MP = draw.values(view.theta[view.method][: self.samples], self.side)
        (out / "meshes").mkdir(parents=True, exist_ok=True)
        paths = []
        for number, values_P in enumerate(task.signed(values_MP), start=1):
            if len(mesh := surface(values_P)):
                paths.append(out / "meshes" / f"{view.method}-{number:03}.{self.format}")
                write(mesh, paths[-1])
        return paths

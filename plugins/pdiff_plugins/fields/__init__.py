"""Networks that are shapes: fitted together, generated, drawn and judged."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.fields.collector import Fields
from pdiff_plugins.fields.evaluation.evaluator import ShapeMetrics
from pdiff_plugins.fields.evaluation.renderings import Renderings
from pdiff_plugins.fields.moves import Moved
from pdiff_plugins.fields.network import Siren
from pdiff_plugins.fields.shape import Shape
from pdiff_plugins.fields.shapes.folder import MeshFolder
from pdiff_plugins.fields.shapes.plane import DigitFields, Shapes2d
from pdiff_plugins.fields.shapes.space import Shapes3d
from pdiff_plugins.fields.surfaces.export import Meshes
from pdiff_plugins.fields.task import FieldTask


@hookimpl
def register_architectures(register: Any) -> None:
    register(Siren)


@hookimpl
def register_datasets(register: Any) -> None:
    register(DigitFields)
    register(Shapes2d)
    register(Shapes3d)
    register(MeshFolder)


@hookimpl
def register_tasks(register: Any) -> None:
    register(FieldTask)
    register(Shape)


@hookimpl
def register_collectors(register: Any) -> None:
    register(Fields)


@hookimpl
def register_transforms(register: Any) -> None:
    register(Moved)


@hookimpl
def register_evaluators(register: Any) -> None:
    register(ShapeMetrics)
    register(Renderings)


@hookimpl
def register_reports(register: Any) -> None:
    register(Meshes)


@hookimpl
def render_samples(recipe: Any, theta_MD: Any, bench: Any, folder: Any) -> None:
    if hasattr(recipe.task, "renderer"):
        from pdiff.files import write_bytes
        from pdiff_plugins.fields.command import picture

        write_bytes(folder / "samples.png", picture(recipe, theta_MD, bench, side=64))


@hookimpl
def register_commands(app: Any) -> None:
    from pdiff_plugins.fields.command import render

    app.command()(render)

"""The command that draws pictures of new networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdiff.cli.results import Out, Overrides, RunName
from pdiff.cli.run import overrides
from pdiff.errors import UserError

if TYPE_CHECKING:
    from pdiff.api import Run


def render(
    run: RunName,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Networks to draw.")] = 12,
    draw: Annotated[int, typer.Option(min=1, help="Number of the draw: another number gives other networks.")] = 1,
    label: Annotated[int | None, typer.Option(min=0, help="Label of the shapes: --label 7 draws sevens.")] = None,
    side: Annotated[int, typer.Option(min=8, help="Pixels along each side of a shape; in space, cells.")] = 64,
    to: Annotated[str, typer.Option(help="PNG file; by default in the run's folder.")] = "",
    set: Overrides = None,
    out: Out = "runs",
) -> None:
    """Draw new networks that are shapes, and write what they show as one picture."""
    from pdiff.api import open_run
    from pdiff.cli.text import console
    from pdiff.files import make_folder

    _check(to)
    opened = open_run(run, out=out, set=overrides(set), console=console())
    asked = "" if label is None else f"-label-{label}"
    path = Path(to) if to else opened.folder / f"render-{count}-draw-{draw}{asked}-{side}.png"
    opened = opened if label is None else opened.drawing(label=label)
    make_folder(path.parent)
    path.write_bytes(picture(opened, count, draw, side))
    console().print(f"{count} shapes in {path}", markup=False, highlight=False, soft_wrap=True)


def _check(to: str) -> None:
    """Raise UserError where the picture's name is not that of a PNG file."""
    if to and Path(to).suffix.lower() != ".png":
        raise UserError(f"--to {to}: is no name of a PNG file; let it end in .png")


def picture(run: Run, count: int, draw: int, side: int) -> bytes:
    """Return what so many new networks show, twelve in a row, as PNG. Raises UserError where they are no shapes."""
    import torch
    from torch.nn import functional

    from pdiff_plugins.fields.evaluation.pictures import Renderer, mosaic

    if run.recipe.task.name != "field":
        raise UserError(f"render: is for runs of task field, this one is of {run.recipe.task.name}")
    pipeline = run.pipeline
    theta_MD = pipeline.sample(pipeline.method, count, draw)
    shapes_MHW = Renderer(pipeline.recipe, pipeline.zoo, pipeline.context("data"))(theta_MD, side)
    columns = min(12, count)
    missing = -len(shapes_MHW) % columns
    whole = functional.pad(shapes_MHW, (0, 0, 0, 0, 0, missing), value=255)
    return mosaic(torch.stack(whole.split(columns)))

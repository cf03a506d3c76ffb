"""The command that draws pictures of new networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdiff.cli.options import Out, Overwrite, RunName, RunOverrides, Sampling, overrides, sampling
from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.view import Setup


def render(
    run: RunName,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Networks to draw.")] = 12,
    draw: Annotated[int, typer.Option(min=1, help="Number of the draw: another number gives other networks.")] = 1,
    option: Sampling = None,
    side: Annotated[int, typer.Option(min=8, help="Pixels along each side of a shape; in space, cells.")] = 64,
    to: Annotated[str, typer.Option(help="PNG file; by default in the run's folder.")] = "",
    overwrite: Overwrite = False,
    set: RunOverrides = None,
    out: Out = "runs",
) -> None:
    """Draw new networks that are shapes, as one picture."""
    from pdiff.api import open_run
    from pdiff.cli.text import console, print_lines
    from pdiff.files import make_folder, write_bytes

    _check(to)
    opened, options = open_run(run, out=out, set=overrides(set), console=console()), sampling(option)
    opened = opened.drawing(**options) if options else opened
    path = Path(to) if to else opened.folder / f"render-{count}-draw-{draw}{opened.drawn_with}-{side}.png"
    if to and path.exists() and not overwrite:
        raise UserError(f"--to {to}: is there already; choose another name, or replace it with --overwrite")
    make_folder(path.parent)
    write_bytes(path, picture(opened.recipe, opened.draw(count, draw=draw), opened.bench, side))
    print_lines([f"{count} shapes in {path}"])


def _check(to: str) -> None:
    """Raise UserError where the picture's name is not that of a PNG file."""
    if to and Path(to).suffix.lower() != ".png":
        raise UserError(f"--to {to}: is no name of a PNG file; let it end in .png")


def picture(recipe: Setup, theta_MD: Tensor, bench: Bench, side: int) -> bytes:
    """Return what networks show, twelve in a row, as PNG. Raises UserError where they are no shapes."""
    import torch
    from torch.nn import functional

    from pdiff_plugins.fields.evaluation.pictures import Renderer, mosaic
    from pdiff_plugins.fields.task import FieldTask

    if not isinstance(recipe.task, FieldTask):
        raise UserError(f"render: is for runs of tasks field and shape, this one is of {recipe.task.name}")
    shapes_MHW = Renderer(recipe, bench)(theta_MD, side)
    columns = min(12, len(theta_MD))
    missing = -len(shapes_MHW) % columns
    whole = functional.pad(shapes_MHW, (0, 0, 0, 0, 0, missing), value=255)
    return mosaic(torch.stack(whole.split(columns)))

"""The command that takes narrow networks out of the widest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pdiff.cli.options import Out, Overwrite, RunName, RunOverrides, overrides
from pdiff.errors import UserError


def narrow(
    run: RunName,
    width: Annotated[int, typer.Option(min=1, help="Width of the networks: units of the widest layer.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Networks to draw.")] = 1,
    draw: Annotated[int, typer.Option(min=1, help="Number of the draw: another number gives other networks.")] = 1,
    source: Annotated[str, typer.Option(help="The method (default) or a baseline, by its label.")] = "",
    to: Annotated[str, typer.Option(help="Folder; by default one in the run's folder.")] = "",
    overwrite: Overwrite = False,
    set: RunOverrides = None,
    out: Out = "runs",
) -> None:
    """Write new networks of a width as small ones."""
    from pdiff.api import open_run
    from pdiff.cli.text import console, print_lines
    from pdiff.files import make_folder, save_tensors
    from pdiff_plugins.widths.surgery import narrow as narrowed
    from pdiff_plugins.widths.units import LivingUnits

    opened = open_run(run, out=out, set=overrides(set), console=console())
    units = LivingUnits.of(opened.bench, opened.zoo.layout, "narrow")
    living = units.living(width)
    if more := [key for key in opened.zoo.anchor if key not in opened.zoo.layout.keys]:
        raise UserError(f"narrow: {more[0]!r} is not generated, so that no narrow network is whole; select 'entire'")
    theta_MD = opened.drawing(source, width=width).draw(count, draw=draw, source=source)
    of = f"-{source.replace(' ', '-')}" if source else ""
    folder = Path(to) if to else opened.folder / f"narrow-{width}{of}-{count}-draw-{draw}"
    paths = [folder / f"network-{number:04d}.safetensors" for number in range(len(theta_MD))]
    if to and not overwrite and (there := next((path for path in paths if path.exists()), None)):
        raise UserError(f"{there}: is there already; choose another folder, or replace it with --overwrite")
    make_folder(folder)
    for path, theta_D in zip(paths, theta_MD, strict=True):
        save_tensors(path, narrowed(theta_D, width, units))
    layers = ", ".join(f"{left} of {size}" for left, size in zip(living, units.sizes, strict=True))
    networks = f"{len(paths)} network{'s' if len(paths) > 1 else ''}"
    print_lines([f"{networks} of width {width} in {folder}; units of the layers: {layers}"])

"""`pdiff pack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pdiff.cli.options import Out, Overwrite, RunName, RunOverrides, overrides


def pack(
    run: RunName,
    to: Annotated[
        str, typer.Option(help="A .safetensors file; with --all a folder. By default in the run's folder.")
    ] = "",
    which: Annotated[str, typer.Option(help="best (on the selection split) or the number of a network.")] = "best",
    source: Annotated[str, typer.Option(help="original, the method (default) or a baseline, by its label.")] = "",
    all: Annotated[bool, typer.Option("--all", help="Every network of the source.")] = False,
    overwrite: Overwrite = False,
    set: RunOverrides = None,
    out: Out = "runs",
) -> None:
    """Write networks of few bits as packed integers."""
    from pdiff.cli.text import console, print_lines, starting

    with starting(f"opening {run}"):
        from pdiff.api import open_run
        from pdiff_plugins.bits.writing import write
    opened = open_run(run, out=out, set=overrides(set), console=console())
    written = write(opened, Path(to) if to else None, which=which, source=source, every=all, overwrite=overwrite)
    print_lines(written.lines())

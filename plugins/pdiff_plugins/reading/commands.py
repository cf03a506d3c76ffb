"""`pdiff read`."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

from pdiff.cli.options import Out, Overwrite, RunName, RunOverrides, overrides


def read(
    run: RunName,
    files: Annotated[
        list[Path] | None, typer.Argument(help="Checkpoint files, or folders of such; else the run's own networks.")
    ] = None,
    reader: Annotated[str, typer.Option(help="What reads; by default the best of the run's scores.")] = "",
    property: Annotated[str, typer.Option(help="What is read: score, a measure, or a setting of the zoo's runs.")] = "",
    source: Annotated[str, typer.Option(help="The method (default), a baseline or original, by its label.")] = "",
    top: Annotated[int, typer.Option(min=0, help="Networks that are shown, the best first; 0: all.")] = 20,
    to: Annotated[Path | None, typer.Option(help="A CSV file for all of them.")] = None,
    overwrite: Overwrite = False,
    set: RunOverrides = None,
    out: Out = "runs",
) -> None:
    """Rank networks by what their weights tell."""
    from pdiff.cli.text import console, print_lines, print_table, starting

    with starting(f"opening {run}"):
        from pdiff.api import open_run
        from pdiff.errors import UserError
        from pdiff.files import write_text
        from pdiff.results.export import new_files
        from pdiff_plugins.reading.asking import predict_property
    if files and source:
        raise UserError(f"--source {source}: names networks of the run, and files are given; leave one of them out")
    if to:
        new_files([to], overwrite)
    opened = open_run(run, out=out, set=overrides(set), console=console())
    told = predict_property(opened, files or None, reader=reader, property=property, source=source)
    ranked, head = told.ranked(), ["place", "network", told.property.replace("_", " ")]
    rows = [[str(place), name, f"{value:.6g}"] for place, (name, value) in enumerate(ranked, 1)]
    shown = [[place, name, told.unit.text(float(value))] for place, name, value in rows]
    print_table(head, shown[: top or None])
    more = [f"and {len(rows) - top} more"] if top and len(rows) > top else []
    if to:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([head, *rows])
        write_text(to, text.getvalue())
    print_lines([*more, *told.said, *([str(to)] if to else [])])

"""`pdiff predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pdiff.cli.options import Out, Overwrite, RunName, RunOverrides, overrides

SHOWN = 10
"""Examples in the table that the terminal shows."""


def predict(
    run: RunName,
    path: Annotated[Path, typer.Argument(help="A folder of images, an image, a .npz, a .npy or a CSV file.")],
    source: Annotated[str, typer.Option(help="The method (default), a baseline or original, by its label.")] = "",
    members: Annotated[int, typer.Option(min=1, help="Networks whose probabilities are averaged.")] = 16,
    calibrated: Annotated[
        bool, typer.Option(help="Use the temperature that the evaluator `uncertainty` found, where it ran.")
    ] = True,
    top: Annotated[int, typer.Option(min=0, help="Likeliest classes that are written of each example; 0: all.")] = 0,
    key: Annotated[str, typer.Option(help="Which array of a .npz, where it holds several.")] = "",
    raw: Annotated[
        bool | None,
        typer.Option(
            "--raw/--inputs", help="Arrays are raw examples, or inputs as the splits have them; else guessed."
        ),
    ] = None,
    to: Annotated[str, typer.Option(help="Folder for the two files; by default the run's.")] = "",
    overwrite: Overwrite = False,
    set: RunOverrides = None,
    out: Out = "runs",
) -> None:
    """Say what an ensemble makes of new examples."""
    from pdiff.cli.text import console, print_lines, print_table, starting

    with starting(f"opening {run}"):
        from pdiff_plugins.predicting.predicting import Asked, predict_to
    asked = Asked(path, source, members, calibrated, raw, key, top)
    told, files = predict_to(run, asked, to, overwrite, out=out, set=overrides(set), console=console())
    print_table(*told.table(SHOWN))
    more = len(told.names) - SHOWN
    print_lines([*([f"and {more} more"] if more > 0 else []), *told.said, *(f"{file}" for file in files)])

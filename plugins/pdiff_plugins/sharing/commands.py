"""`pdiff push`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from pdiff.cli.options import Out, Overwrite, RunName, RunOverrides, overrides


def push(
    run: RunName,
    to: Annotated[str, typer.Option(help="A folder, or hub:OWNER/NAME for the Hugging Face hub.")],
    which: Annotated[str, typer.Option(help="best (on the selection split) or the number of a network.")] = "best",
    source: Annotated[str, typer.Option(help="original, the method (default) or a baseline, by its label.")] = "",
    licence: Annotated[str, typer.Option(help="Of the weights: mit, cc-by-4.0, ..., or a file with its text.")] = "",
    private: Annotated[bool, typer.Option("--private", help="On the hub: make a repository that is private.")] = False,
    overwrite: Overwrite = False,
    set: RunOverrides = None,
    out: Out = "runs",
) -> None:
    """Write a network with its model card, or send it to the hub."""
    from pdiff.cli.text import print_lines
    from pdiff_plugins.sharing.folder import Choice, write_folder
    from pdiff_plugins.sharing.hub import PREFIX, Hub

    hub = Hub.reached(to.removeprefix(PREFIX), private, overwrite) if to.startswith(PREFIX) else None
    choice = Choice.of(run, which, source, licence, out=out, set={"run.download": False} | overrides(set))
    if hub:
        with tempfile.TemporaryDirectory() as temporary:
            place = hub.send(write_folder(choice, Path(temporary) / hub.name.rpartition("/")[2], hub.name))
    else:
        place = str(write_folder(choice, Path(to), overwrite=overwrite))
    print_lines([*choice.remarks, f"network {choice.number} of {choice.source} in {place}"])

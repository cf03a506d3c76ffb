"""Options that commands share; for plugins' commands too."""

from __future__ import annotations

from typing import Annotated, Any

import typer

RunName = Annotated[str, typer.Argument(help="A run's folder or address, or its recipe's file or name.")]
Out = Annotated[str, typer.Option(help="Folder of results, or an address: s3://bucket/runs.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value: --set sample.count=50. Repeatable."),
]
RunOverrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="run.KEY=VALUE", help="Change a key of [run]: --set run.device=cpu."),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="FILE", help="A Python file of your own that is a plugin. Repeatable."),
]
Wide = Annotated[bool, typer.Option("--wide", help="Show every column, however wide that is.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")]
Sampling = Annotated[
    list[str] | None,
    typer.Option(
        "--option", "-o", metavar="KEY=VALUE",
        help="Option of the method that is read when sampling, or what is asked for: -o guidance=3 -o label=7. "
        "Repeatable.",
    ),
]  # fmt: skip


def overrides(texts: list[str] | None, device: str = "", out: str = "") -> dict[str, Any]:
    """Return `--set` options, and the two short ones, as values by dotted key. Raises UserError."""
    from pdiff.recipe.loading import parse_override

    values = dict(parse_override(text) for text in texts or [])
    return values | ({"run.device": device} if device else {}) | ({"run.out": out} if out else {})


def sampling(texts: list[str] | None) -> dict[str, Any]:
    """Return `-o` options as values by name; `prompt.loss=0.2` gives `{"prompt": {"loss": 0.2}}`. Raises UserError."""
    from pdiff.recipe.loading import nested, parse_override

    return nested(dict(parse_override(text, "-o guidance=3") for text in texts or []))


def use_plugins(files: list[str] | None) -> None:
    """Load `--plugin` files, where there are any. Raises UserError."""
    from pathlib import Path

    from pdiff.plugins.discovery import registry
    from pdiff.plugins.files import find_file

    registry().use_files([find_file(file, [Path()]) for file in files or ()])

"""Commands on a finished run: show, evaluate, report, sample, export."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from pdiff.cli.run import overrides
from pdiff.errors import UserError

RunName = Annotated[str, typer.Argument(help="A run's folder, its recipe's file, or its recipe's name.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="run.KEY=VALUE", help="Change a key of [run]: --set run.device=cpu."),
]
Out = Annotated[str, typer.Option(help="Folder of results.")]


def register(app: typer.Typer) -> None:
    for command in (show, sample, evaluate, report, export):
        app.command()(command)


def show(
    run: RunName,
    json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
    out: Out = "runs",
) -> None:
    """Show the summary of a finished run."""
    from pdiff.cli.text import print_run
    from pdiff.results.runs import find_run, read_scores

    scores = read_scores(find_run(run, out))
    if json:
        import json as as_json

        typer.echo(as_json.dumps(scores, indent=1))
    else:
        print_run(scores)


def sample(
    run: RunName,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Networks to draw.")] = 10,
    draw: Annotated[int, typer.Option(min=1, help="Number of the draw: another number gives other networks.")] = 1,
    source: Annotated[str, typer.Option(help="The method, or one of the baselines, by its label in the table.")] = "",
    label: Annotated[
        int | None, typer.Option(min=0, help="Label of the networks, where the method knows labels.")
    ] = None,
    prompt: Annotated[
        str, typer.Option(metavar="NAME=VALUE", help="Ask for networks with this metric: --prompt loss=0.2.")
    ] = "",
    start: Annotated[
        str, typer.Option(help="Network to start from, where the method takes prompts: a file, or init:SEED.")
    ] = "",
    recursive: Annotated[
        int | None, typer.Option(min=1, help="Prompt so many times, each from what came; stops when nothing is gained.")
    ] = None,
    render: Annotated[bool, typer.Option("--render", help="Also draw them, where they are pictures.")] = False,
    to: Annotated[str, typer.Option(help="Folder for the networks; by default in the run's folder.")] = "",
    set: Overrides = None,
    out: Out = "runs",
) -> None:
    """Draw more networks from a finished run, each a whole state dict in safetensors, with its score."""
    from pdiff.api import open_run
    from pdiff.cli.text import console, print_table

    asked = _prompt(prompt)
    given = {"label": label, "prompt": asked, "start": start or None, "recursive": recursive}
    options = {option: value for option, value in given.items() if value is not None}
    opened = open_run(run, out=out, set=overrides(set), console=console())
    opened = opened.drawing(**options) if options else opened
    folder, rows = opened.sample_to(Path(to) if to else None, count=count, draw=draw, source=source)
    split = opened.recipe.selection
    table = [[name, f"{score:.2%}"] for name, score in rows]
    head = ["network", f"{opened.recipe.task.metric} ({split})"]
    for name, value in (asked or {}).items():
        head += ["asked", f"{name} ({split})"]
        got = opened.measures(count, draw, source)[name]
        table = [[*row, f"{value:g}", f"{own:.4g}"] for row, own in zip(table, got, strict=True)]
    print_table(head, table)
    console().print(f"{len(rows)} networks in {folder}", markup=False, highlight=False, soft_wrap=True)
    for path in opened.render(folder, count=count, draw=draw) if render else ():
        console().print(str(path), markup=False, highlight=False, soft_wrap=True)


def _prompt(text: str) -> dict[str, float] | None:
    """Read `loss=0.2`. Raises UserError."""
    if not text:
        return None
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"--prompt {text}: write a metric and a number, for example --prompt loss=0.2")
    return {name.strip(): number}


def evaluate(
    run: RunName,
    evaluator: Annotated[
        list[str] | None, typer.Option("--with", help="Add an evaluator that the recipe has not.")
    ] = None,
    set: Overrides = None,
    out: Out = "runs",
) -> None:
    """Evaluate a run again, with further evaluators if wanted; only what is new is computed."""
    from pdiff.api import open_run
    from pdiff.cli.text import console, print_run

    opened = open_run(run, out=out, set=overrides(set), console=console())
    print_run(opened.evaluate(evaluator or []))
    opened.report()


def report(run: RunName, set: Overrides = None, out: Out = "runs") -> None:
    """Write a run's reports again."""
    from pdiff.api import open_run
    from pdiff.cli.text import console

    for path in open_run(run, out=out, set=overrides(set), console=console()).report(again=True):
        console().print(str(path), markup=False, highlight=False, soft_wrap=True)


def export(
    run: RunName,
    to: Annotated[str, typer.Option(help="A .safetensors file; with --all a folder.")],
    which: Annotated[str, typer.Option(help="best (on the selection split) or the number of a network.")] = "best",
    source: Annotated[str, typer.Option(help="original, the method (default) or a baseline, by its label.")] = "",
    all: Annotated[bool, typer.Option("--all", help="Every network of the source.")] = False,
    set: Overrides = None,
    out: Out = "runs",
) -> None:
    """Write networks as ordinary state dicts, which the architecture loads with strict=True."""
    from pdiff.api import open_run
    from pdiff.cli.text import console

    opened = open_run(run, out=out, set=overrides(set), console=console())
    paths = opened.export(Path(to), which=which, source=source, every=all)
    said = f"{len(paths)} networks in {to}" if all else str(paths[0])
    console().print(said, markup=False, highlight=False, soft_wrap=True)

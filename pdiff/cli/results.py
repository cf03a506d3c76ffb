"""Commands on a finished run: show, evaluate, report, sample, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdiff.cli.options import Out, Overwrite, RunName, RunOverrides, Sampling, Wide, overrides, sampling
from pdiff.errors import UserError
from pdiff.results.scores import Unit

if TYPE_CHECKING:
    from pdiff.api import Run


def register(app: typer.Typer) -> None:
    for command in (show, sample, evaluate, report, export):
        app.command()(command)


def show(
    run: RunName,
    json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
    wide: Wide = False,
    out: Out = "runs",
) -> None:
    """Show the summary of a finished run."""
    from pdiff.cli.text import print_run
    from pdiff.results.mirror import located
    from pdiff.results.runs import read_scores

    folder, _ = located(run, out)
    scores = read_scores(folder)
    if json:
        import json as as_json

        typer.echo(as_json.dumps(scores, indent=1))
    else:
        print_run(scores, folder, wide)


def _open(run: str, out: str, set: list[str] | None) -> Run:
    """Open a finished run, and say so while that loads what it needs."""
    from pdiff.cli.text import console, starting

    with starting(f"opening {run}"):
        from pdiff.api import open_run
    return open_run(run, out=out, set=overrides(set), console=console())


def sample(
    run: RunName,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Networks to draw.")] = 10,
    draw: Annotated[int, typer.Option(min=1, help="Number of the draw: another number gives other networks.")] = 1,
    source: Annotated[str, typer.Option(help="The method, or one of the baselines, by its label in the table.")] = "",
    option: Sampling = None,
    condition: Annotated[str | None, typer.Option(help="What to ask for, as its vector: 0110010001.")] = None,
    text: Annotated[str | None, typer.Option(help="What to ask for, as a sentence.")] = None,
    examples: Annotated[str | None, typer.Option(help="What to ask for, as a folder of examples by class.")] = None,
    render: Annotated[bool, typer.Option("--render", help="Also draw them, where they are pictures.")] = False,
    to: Annotated[str, typer.Option(help="Folder for the networks; by default in the run's folder.")] = "",
    overwrite: Overwrite = False,
    set: RunOverrides = None,
    out: Out = "runs",
) -> None:
    """Draw more networks from a finished run. Each is a whole state dict in safetensors, with its score."""
    from pdiff.cli.text import in_a_line, print_lines, print_table

    asked = {"condition": condition, "text": text, "examples": examples}
    options = sampling(option) | {key: value for key, value in asked.items() if value is not None}
    opened = _open(run, out, set)
    opened = opened.drawing(source, **options) if options else opened
    place = Path(to) if to else None
    folder, rows = opened.sample_to(place, count=count, draw=draw, source=source, overwrite=overwrite)
    split = opened.recipe.selection
    unit = Unit.of((score for _, score in rows), opened.recipe.task.unit)
    table = [[name, unit.text(score) if score == score else "unknown"] for name, score in rows]
    head = ["network", f"{opened.recipe.task.metric} ({split})"]
    for name, measured in opened.asked(count, draw, source).items():
        head += ["asked", f"{name} ({split})"]
        table = [[*row, f"{wanted:g}", f"{got:.4g}"] for row, (wanted, got) in zip(table, measured, strict=True)]
    if about := opened.about(count, draw, source):
        head.append("about")
        table = [[*row, in_a_line(what)] for row, what in zip(table, about, strict=True)]
    print_table(head, table)
    print_lines([f"{len(rows)} networks in {folder}"])
    print_lines(map(str, opened.render(folder, count=count, draw=draw, source=source) if render else ()))


def evaluate(
    run: RunName,
    evaluator: Annotated[
        list[str] | None, typer.Option("--with", help="Add an evaluator that the recipe has not.")
    ] = None,
    wide: Wide = False,
    set: RunOverrides = None,
    out: Out = "runs",
) -> None:
    """Evaluate a run again, also by further evaluators. Only what is new is computed."""
    from pdiff.cli.text import print_reports, print_run

    opened = _open(run, out, set)
    print_run(opened.evaluate(evaluator or []), opened.folder, wide)
    print_reports(opened.report())


def report(run: RunName, set: RunOverrides = None, out: Out = "runs") -> None:
    """Write a run's reports again."""
    from pdiff.cli.text import print_lines

    print_lines(map(str, _open(run, out, set).report(again=True)))


def export(
    run: RunName,
    to: Annotated[
        str, typer.Option(help="A .safetensors file; with --all a folder. By default in the run's folder.")
    ] = "",
    which: Annotated[str, typer.Option(help="best (on the selection split) or the number of a network.")] = "best",
    source: Annotated[str, typer.Option(help="original, the method (default) or a baseline, by its label.")] = "",
    all: Annotated[bool, typer.Option("--all", help="Every network of the source.")] = False,
    format: Annotated[
        str, typer.Option(help="A format of the selector's, as peft of lora; each network is then a folder.")
    ] = "",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="Option of the format: -o rank=2.")
    ] = None,
    ensemble: Annotated[
        int, typer.Option(min=0, help="The so many best as one, in a folder that loads with torch alone.")
    ] = 0,
    overwrite: Overwrite = False,
    set: RunOverrides = None,
    out: Out = "runs",
) -> None:
    """Write networks as ordinary state dicts, or an ensemble."""
    from pdiff.cli.text import print_lines
    from pdiff.results.export import in_name

    given = {"--which": which != "best", "--all": all, "--format": format, "--option": option}
    if ensemble and any(given.values()):
        name = next(name for name, value in given.items() if value)
        raise UserError(f"{name}: an ensemble is of the best networks of a source, as they are; leave it out")
    opened = _open(run, out, set)
    place = Path(to) if to else None
    if ensemble:
        name = f"ensemble-{in_name(source or opened.pipeline.plan.method)}-{ensemble}"
        made = opened.ensemble(ensemble, source)
        folder, count = made.export(place or opened.folder / name, overwrite), len(made.members)
        fewer = ", all that there are" if count < ensemble else ""
        return print_lines([f"{folder}: an ensemble of {count}{fewer}; README.md in it says how it is used"])
    paths = opened.export(
        place, which=which, source=source, every=all, overwrite=overwrite, format=format, **sampling(option)
    )
    if all:
        return print_lines([f"{len(paths)} networks in {paths[0].parent}"])
    best = f" (best on the {opened.recipe.selection} split)" if which == "best" else ""
    number, of = opened.number(which, source), source or opened.pipeline.plan.method
    print_lines([f"{paths[0]}: network {number} of {of}{best}"])

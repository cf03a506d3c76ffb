"""The book: every table and figure of Neural Network Diffusion (arXiv 2402.13144) as recipes, and `pdiff reproduce`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pdiff import hookimpl
from pdiff_plugins.fleet.commands import DryRun, EngineName, EngineOption, Workers
from pdiff_plugins.fleet.grid import split


def reproduce(
    table: Annotated[str, typer.Argument(help="table1, table3a, fig4, ...; none lists them all.")] = "",
    only: Annotated[
        list[str] | None, typer.Option(help="Only cells whose name matches: cifar10_mlp, '*_resnet18'. Repeatable.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the cells, and run nothing.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Few examples and steps, random weights: to see that it runs.")
    ] = False,
    efficient: Annotated[
        bool, typer.Option("--efficient", help="pdiff's own method, which a CPU can train, instead of the paper's.")
    ] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch data sets and weights that are not there.")
    ] = False,
    set: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a value in every cell, or by several. Repeatable."),
    ] = None,
    device: Annotated[str, typer.Option(help="Short for --set run.device=...")] = "",
    out: Annotated[str, typer.Option(help="Folder of results.")] = "runs",
    engine: EngineName = "",
    option: EngineOption = None,
    workers: Workers = 0,
    dry_run: DryRun = False,
) -> None:
    """Repeat a table of the paper.

    Its cells are run, and ours set beside the paper's and the authors' logs. What is computed already is used again.
    Cells whose data or weights are not there are skipped, with the reason. With several seeds (--set seed=0,1,2),
    workers, or an engine, the cells are run as `pdiff sweep` runs them, and the page is by seeds.
    """
    from pdiff.cli.options import overrides
    from pdiff_plugins.book import listing, reproduction

    chosen = listing.chosen(table, only or []) if table else {}
    if list_ or not table:
        listing.show(table, chosen)
        return
    variant = reproduction.Variant(smoke=smoke, efficient=efficient, download=download)
    always = overrides(None, device) | {"run.out": out}
    if engine or option or workers > 1 or dry_run or any(len(split(text.partition("=")[2])) > 1 for text in set or []):
        from pdiff_plugins.fleet.campaign import engine_of

        chosen_engine = engine_of(engine or "local", option or [])
        reproduction.sweep(table, chosen, variant, set or [], always, chosen_engine, workers, dry_run)
        return
    reproduction.reproduce(table, chosen, variant, overrides(set, device, out), out)


@hookimpl
def register_commands(app: Any) -> None:
    app.command()(reproduce)

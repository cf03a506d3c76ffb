"""`pdiff sweep`."""

from __future__ import annotations

from typing import Annotated

import typer

from pdiff.cli.options import Out, Plugins, use_plugins

Grid = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE,...", help="A value, or several: --set seed=0,1,2. Repeatable."),
]
EngineName = Annotated[str, typer.Option(help="What runs the workers: local, submitit (Slurm), ray, or a plugin's.")]
EngineOption = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="KEY=VALUE", help="Option of the engine: -o partition=gpu. Repeatable."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what there is to do, and do nothing.")]
Workers = Annotated[int, typer.Option("-j", min=0, help="Workers; 0: as many as the engine has places.")]


def sweep(
    recipes: Annotated[list[str], typer.Argument(help="Recipe files, or names of recipes.", metavar="RECIPES...")],
    set: Grid = None,
    engine: EngineName = "local",
    option: EngineOption = None,
    workers: Workers = 0,
    device: Annotated[str, typer.Option(help="Short for --set run.device=...")] = "",
    out: Out = "",
    plugin: Plugins = None,
    name: Annotated[str, typer.Option(help="What the sweep's folder is called.")] = "",
    dry_run: DryRun = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show the result and no progress.")] = False,
) -> None:
    """Run many cells: each recipe with each combination of values.

    Workers share one store: a stage that several cells need is computed once, by whoever comes first. A cell that fails
    stops no other. The same command again goes on. One page at the end sets cells beside each other, by seeds.
    """
    from pdiff.running.remote import local
    from pdiff_plugins.fleet import campaign, grid

    always = ({"run.device": device} if device else {}) | ({"run.out": out} if out else {})
    cells = grid.grid(recipes, set or [], always)
    use_plugins(plugin)
    chosen = campaign.engine_of(engine, option or [])
    campaign.Campaign(cells, plugin or [], local(out) if out else None, name).run(chosen, workers, dry_run, quiet)

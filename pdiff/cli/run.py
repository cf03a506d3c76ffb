"""`pdiff run` and `pdiff check`."""

from __future__ import annotations

from typing import Annotated

import typer

from pdiff.cli.options import Overrides, Plugins, overrides

RecipeName = Annotated[
    str, typer.Argument(help="A recipe file, or the name of one in ./recipes or of those that come with pdiff.")
]


def register(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(check)


def run(
    recipe: RecipeName,
    set: Overrides = None,
    device: Annotated[str, typer.Option(help="Short for --set run.device=...")] = "",
    out: Annotated[str, typer.Option(help="Short for --set run.out=...")] = "",
    plugin: Plugins = None,
    track: Annotated[
        list[str] | None, typer.Option(help="Let a tracker follow the run: --track tensorboard. Repeatable.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Run a recipe from start to report; what is computed already is re-used."""
    import pdiff
    from pdiff.cli.text import console, print_run

    changes = overrides(set, device, out) | ({"run.track": [{"name": name} for name in track]} if track else {})
    done = pdiff.run(recipe, plugins=plugin or (), set=changes, quiet=quiet, console=console())
    print_run(done.scores)
    for path in done.report():
        if path.suffix in (".html", ".md"):
            console().print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)
    console().print(f"results in {done.folder}", markup=False, highlight=False, soft_wrap=True)


def check(recipe: RecipeName, set: Overrides = None, plugin: Plugins = None) -> None:
    """Validate a recipe; print it with every option, and what is cached and what is to do."""
    import tomli_w

    from pdiff import api
    from pdiff.cli.text import console, print_table
    from pdiff.recipe.loading import find_recipe, load_recipe

    path = find_recipe(recipe)
    loaded = load_recipe(path, overrides(set), plugin or ())
    console().print(tomli_w.dumps(loaded.table()), markup=False, highlight=False, soft_wrap=True)
    pipeline = api.pipeline_of(loaded, path)
    states = {True: "cached", False: "to do"}
    rows = [[what, stage.folder_name, states[pipeline.store.has(stage)]] for what, stage in pipeline.plan]
    print_table(["stage", "key", "state"], rows)

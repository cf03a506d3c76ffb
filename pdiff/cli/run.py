"""`pdiff run` and `pdiff check`."""

from __future__ import annotations

from typing import Annotated

import typer

from pdiff.cli.options import Overrides, Plugins, Wide, overrides
from pdiff.running.ranks import leader

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
    wide: Wide = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show the result and no progress.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show how networks are run, and how fast.")] = False,
) -> None:
    """Run a recipe from start to report. What is computed already is used again."""
    from pdiff.cli.text import console, print_lines, print_reports, print_run, starting

    with starting(f"pdiff run {recipe}", quiet):
        from pdiff import api
    changes = overrides(set, device, out) | ({"run.track": [{"name": name} for name in track]} if track else {})
    done = api.run(recipe, plugins=plugin or (), set=changes, quiet=quiet, verbose=verbose, console=console())
    if not leader():
        return
    print_run(done.scores, done.folder, wide)
    print_reports(done.report())
    address = done.pipeline.store.remote.address
    print_lines([f"results in {done.folder}" + (f", and at {address}/{done.folder.name}" if address else "")])


def check(
    recipe: RecipeName,
    set: Overrides = None,
    plugin: Plugins = None,
    full: Annotated[bool, typer.Option("--full", help="Print the recipe with every option, too.")] = False,
) -> None:
    """Say whether a recipe can run, and what there is to do.

    It lists what is cached and what would be fetched, and all that keeps the run from its end at once.
    """
    from pdiff.cli.text import print_lines, print_table, starting
    from pdiff.engine.preflight import ready
    from pdiff.recipe.loading import find_recipe, load_recipe
    from pdiff.running.store import Store

    path = find_recipe(recipe)
    loaded = load_recipe(path, overrides(set), plugin or ())
    with starting("looking for what the recipe needs"):
        plan, _, ahead = ready(loaded, path)
    store = Store.at(loaded.run.out)
    states = {True: "cached", False: "to do"}
    rows = [[what, stage.key, states[store.has(stage)]] for what, stage in plan]
    print_table(["stage", "key", "state"], rows)
    cached = sum(row[-1] == states[True] for row in rows)
    print_lines(
        [f"{path}: can run; {len(rows)} stages, {cached} of them cached"]
        + [f"to be fetched: {line}" for line in ahead.what("fetches")]
        + [f"note: {line}" for line in ahead.what("notes")]
    )
    if full:
        import tomli_w

        print_lines(["", tomli_w.dumps(loaded.table())])

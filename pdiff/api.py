"""Run a recipe from Python, and open finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import tomli_w

from pdiff.components import identity
from pdiff.engine.observe import notify, tracked
from pdiff.engine.pipeline import Pipeline
from pdiff.engine.plan import Plan
from pdiff.engine.preflight import ready
from pdiff.engine.scores import scores_of
from pdiff.errors import UserError
from pdiff.files import write_json, write_text
from pdiff.networks import build_network
from pdiff.recipe.given import Given, completed, recipe_given
from pdiff.recipe.loading import find_recipe, load_recipe, read_tables, recipe_of, validated
from pdiff.recipe.tables import COUNTED, Recipe
from pdiff.results.changes import changed_keys
from pdiff.results.mirror import located, publish, pull
from pdiff.results.runs import GIVEN, RESOLVED, SCORES, finished, read_scores
from pdiff.running import ranks
from pdiff.running.locks import run_locked
from pdiff.running.progress import Progress, progress_for
from pdiff.running.remote import local
from pdiff.running.store import Store
from pdiff.runs import Run, added

CHANGED = 8
"""Keys that are named of those in which a recipe differs from its last run."""
__all__ = ["Run", "open_run", "prepare", "run"]


@ranks.group()
def run(
    recipe: Given = None, *, plugins: Sequence[str | PathLike[str]] = (), set: Mapping[str, Any] | None = None,
    quiet: bool = False, verbose: bool = False, console: Any = None, out: str | PathLike[str] = "", name: str = "",
    **objects: Any,
) -> Run:  # fmt: skip
    """See `pdiff.run`."""
    set = {**(set or {}), **({"run.out": fspath(out)} if out else {})}
    loaded, path = recipe_given(recipe, objects, set, plugins)
    called = Path(name or path)
    plan, named, ahead = ready(loaded, called)
    pipeline = Pipeline(plan, named, Progress() if quiet or not ranks.leader() else _progress(console, verbose))
    for line in ahead.what("fetches"):
        pipeline.progress.say(f"to be fetched: {line}")
    for line in ahead.what("notes"):
        pipeline.warn(line)
    store, folder = pipeline.store, local(loaded.run.out) / pipeline.name
    store.remote.sends = True
    _say_what_changed(loaded, called, folder, pipeline.progress)
    with ranks.leader_first():
        try:
            if ranks.leader():
                pull(store)
        except UserError as error:
            pipeline.warn(f"{error}; what this run gives is sent in its place")
    kept = ranks.agreed(read_scores(folder)["columns"] if (folder / SCORES).is_file() else {})
    about: dict[str, Any] = {"run": pipeline.name, "folder": folder}
    stages = {what: stage.key for what, stage in pipeline.plan}
    with tracked(loaded.run.track, pipeline.warn, recipe=loaded.table(), stages=stages, **about):
        scores = scores_of(pipeline, added(kept, loaded))
        resolved, done = tomli_w.dumps(loaded.table()), Run(folder, pipeline)
        with ranks.alone() as leads:
            if not leads:
                return done
            with run_locked(folder):
                write_text(folder / GIVEN, path.read_text(encoding="utf-8") if path.is_file() else resolved)
                write_text(folder / RESOLVED, resolved)
                write_json(folder / SCORES, scores)
            notify(pipeline.warn, "run_finished", scores=scores, files=done.report(), failure="", **about)
            publish(store)
    store.remote.sends = False  # what the run is asked for from here on is its own
    return done


def prepare(recipe: str | PathLike[str], *, set: Mapping[str, Any] | None = None) -> None:
    """See `pdiff.prepare`."""
    path = find_recipe(Path(recipe))
    plan, named, _ = ready(load_recipe(path, set), path)
    pipeline = Pipeline(plan, named)
    if not pipeline.store.has(pipeline.plan.train):
        build_network(pipeline.recipe.architecture, pipeline.data, pipeline.recipe.seed)


def open_run(
    name: str | PathLike[str], *, out: str | PathLike[str] = "runs", set: Mapping[str, Any] | None = None,
    console: Any = None, **objects: Any,
) -> Run:  # fmt: skip
    """See `pdiff.open_run`."""
    progress = _progress(console)
    folder, out = located(name, out, progress)
    others = [key for key in set or {} if not key.startswith("run.") or key.removeprefix("run.") in COUNTED]
    if others:
        raise UserError(f"--set {others[0]}: a finished run takes run.* only, no {' or '.join(COUNTED)}; run it again")
    changes = {**(set or {}), "run.out": out, "run.track": []}
    given = [keyword for keyword, value in objects.items() if value is not None]
    tables = read_tables(folder / RESOLVED)
    recipe = recipe_of(completed(tables, objects, changes, False) if given else tables, folder / RESOLVED, changes)
    store = Store.at(out)
    train, collect = map(store.stage, read_scores(folder)["stages"])
    for keyword in given:
        table = "dataset" if keyword == "data" else keyword
        counted = identity(getattr(recipe, table))
        if any(train.config[table].get(key) != value for key, value in counted.items()):
            raise UserError(
                f"{folder.name}: {keyword} is not what the run was made with; hand over the same, or run again"
            )
    return Run(folder, Pipeline(Plan(recipe, train=train, collect=collect), folder.name, progress))


def _progress(console: Any, verbose: bool = False) -> Progress:
    from rich.console import Console

    return progress_for(console or Console(), verbose)


def _say_what_changed(recipe: Recipe, path: Path, folder: Path, progress: Progress) -> None:
    """Say which keys differ from the recipe's last run, whose results stay where they are."""
    runs = [run for run in finished(local(recipe.run.out)) if run.name.rpartition("-")[0] == path.stem]
    if not runs or folder in runs:
        return
    try:
        before = validated(read_tables(runs[0] / RESOLVED), runs[0] / RESOLVED)
    except UserError:
        return progress.say(
            f"{runs[0].name} (kept) is of another version of pdiff or of your code: its stages are computed again"
        )
    changed = [key for key in changed_keys(before.table(), recipe.table()) if not key.startswith("run.")]
    more = f", and {len(changed) - CHANGED} more" if len(changed) > CHANGED else ""
    progress.say(f"recipe changed since {runs[0].name} (kept): {', '.join(changed[:CHANGED])}{more}")

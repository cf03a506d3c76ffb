"""Preflight: a look at all that a run needs before anything is fetched, trained or computed. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pdiff.components import Ahead, Component
from pdiff.components.ahead import parts
from pdiff.engine.keys import run_key
from pdiff.engine.plan import Plan
from pdiff.errors import Lacking, UserError
from pdiff.plugins.loading import told
from pdiff.recipe.tables import Recipe
from pdiff.running.store import Store


def look_ahead(recipe: Recipe, done: bool = False, trained: bool = False) -> Ahead:
    """Return what all components say of the run.

    `done`: all stages are there, and trackers alone are asked; `trained`: the base network is, and needs no weights.
    """
    ahead = Ahead(recipe, "", Path(recipe.run.data), recipe.run.download, _expected(recipe))
    asked = [*parts(recipe), *((f"sample.{key}", step) for key, step in parts(recipe.sample))]
    followed = [(f"run.{key}", tracker) for key, tracker in parts(recipe.run)]
    for key, component in followed if done else [*asked, *followed]:
        if key == "architecture" and trained:
            continue
        try:
            component.foresee(ahead.of(key))
        except UserError as error:
            for line in str(error).splitlines():
                ahead.lacks(line)
        except Exception as error:
            ahead.note(f"warning: {key}: {component.name}: foresee() raised {told(error)}")
        if key.startswith("zoo"):  # nobody knows how many a step leaves
            ahead = replace(ahead, checkpoints=None)
    return ahead


def lacking(recipe: Recipe, key: str, components: Iterable[Component]) -> list[str]:
    """Return what components that the recipe has not, as if they stood under a key, say keeps them from their end."""
    ahead = Ahead(recipe, key, Path(recipe.run.data), recipe.run.download, _expected(recipe))
    for component in components:
        component.foresee(ahead)
    return ahead.what("lacks")


def _expected(recipe: Recipe) -> int | None:
    try:
        return recipe.collect.expected()
    except Exception:  # what is wrong with it, it says itself
        return None


def planned(recipe: Recipe, path: Path) -> tuple[Plan, str]:
    """Return the plan of a recipe, and the run's name: the recipe's and a key. Raises UserError."""
    plan = Plan(recipe)
    name = f"{path.stem}-{run_key(recipe, plan.train)}"
    if recipe.run.device not in ("auto", "cpu"):  # which are there; of another one torch must be asked
        from pdiff.running.device import device_for

        device_for(recipe.run.device, recipe.run.precision)
    return plan, name


def ready(recipe: Recipe, path: Path) -> tuple[Plan, str, Ahead]:
    """Return the plan of a recipe, its run's name, and what components say before anything is fetched or computed.

    Raises Faults that name all that keeps the run from its end.
    """
    plan, name, lines, done, trained = None, "", list[str](), False, False
    try:
        store = Store.at(recipe.run.out)
        lines = store.remote.faults()
        plan, name = planned(recipe, path)
        done = not lines and all(store.has(stage) for _, stage in plan)
        trained = not lines and store.has(plan.train)
    except UserError as error:
        lines += str(error).splitlines()
    ahead = look_ahead(recipe, done, trained)
    if plan is None or lines or ahead.what("lacks"):
        raise Lacking(dict.fromkeys([*ahead.what("lacks"), *lines]))
    return plan, name, ahead

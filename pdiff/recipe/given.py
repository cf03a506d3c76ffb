"""A recipe from Python: a file, tables or none, and the objects that a caller hands over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from pdiff.components import Table
from pdiff.errors import UserError
from pdiff.plugins.discovery import registry
from pdiff.recipe.loading import find_recipe, load_recipe, read_tables, recipe_of, use_plugins
from pdiff.recipe.tables import Recipe
from pdiff.running.remote import local

CALL = Path("pdiff.run")
"""Named in faults of what no file says."""
NAME = Path("python")
"""Of a run whose recipe is no file, unless it is given one."""
Given = str | PathLike[str] | Mapping[str, Any] | Recipe | None


def recipe_given(
    recipe: Given, objects: Mapping[str, Any], set: Mapping[str, Any] | None, plugins: Sequence[str | PathLike[str]]
) -> tuple[Recipe, Path]:
    """Return the recipe, and the path that names its runs. Raises UserError.

    Args:
        recipe: file, name, tables, recipe, or None.
        objects: what was handed over, by keyword of `pdiff.run`; None is nothing.
        set: values by dotted key.
        plugins: files that are plugins.
    """
    if isinstance(recipe, str | PathLike):
        path = find_recipe(Path(recipe))
        if all(value is None for value in objects.values()):
            return load_recipe(path, set, plugins), path
        return _assembled(read_tables(path), objects, set, path, plugins, False), path
    if recipe is not None and not isinstance(recipe, Mapping | Recipe):
        raise UserError(f"pdiff.run: a recipe is a path, a name, a dict or a Recipe, not a {type(recipe).__name__}")
    tables = {key: dict(value) if isinstance(value, Table) else value for key, value in dict(recipe or {}).items()}
    return _assembled(tables, objects, set, CALL, plugins, True), NAME


def _assembled(
    tables: dict[str, Any], objects: Mapping[str, Any], set: Mapping[str, Any] | None, path: Path,
    plugins: Sequence[str | PathLike[str]], complete: bool,
) -> Recipe:  # fmt: skip
    use_plugins(tables, path, plugins)  # first, so that what the objects become can be of them
    return recipe_of(completed(tables, objects, set, complete), path, set)


def completed(
    tables: dict[str, Any], objects: Mapping[str, Any], set: Mapping[str, Any] | None, complete: bool
) -> dict[str, Any]:
    """Return the tables with the objects in their places, and where asked for with defaults, as plugins make them."""
    run = tables.get("run")
    out = (set or {}).get("run.out") or (run if isinstance(run, Mapping) else {}).get("out", "runs")
    given = {"recipe": tables, "out": str(local(str(out))), "complete": complete}
    given |= {name: value for name, value in objects.items() if value is not None}
    made: dict[str, Any] | None = registry().manager.hook.complete_recipe(given=given)
    if made is None:
        raise UserError("pdiff.run: no plugin takes objects in the place of a recipe's tables; write a recipe")
    return made

"""A recipe as a run keeps it, every option written out, has the keys of the recipe that was given."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w

from pdiff.components import KINDS, Component, identity
from pdiff.engine.keys import run_key
from pdiff.engine.plan import Plan
from pdiff.errors import UserError
from pdiff.plugins.discovery import registry
from pdiff.recipe.loading import load_recipe
from tests.components.cases import CASES, OPTIONS
from tests.helpers import ROOT

RECIPES = sorted((ROOT / "recipes").rglob("*.toml"))


def names() -> list[tuple[str, str]]:
    """Return (kind, name) of every component and every preset."""
    return [(kind, name) for kind in KINDS for _, name, _, _ in registry().offers(kind)]


def options(kind: str, name: str) -> dict[str, object]:
    """Return what a component must be given."""
    component, _ = registry().find(kind, name)
    given = CASES.get(kind, {}).get(component.name, {}) | OPTIONS.get((kind, component.name), {})
    return {key: value for key, value in given.items() if key in component.model_fields}


def without_files(component: Component) -> object:
    """Return a component's identity; where its files are not here, its table instead."""
    try:
        return identity(component)
    except UserError:
        return component.table()


@pytest.mark.parametrize(("kind", "name"), names())
def test_a_component_read_back_has_the_same_identity(kind: str, name: str) -> None:
    component = KINDS[kind].model_validate({"name": name} | options(kind, name))
    again = KINDS[kind].model_validate(tomllib.loads(tomli_w.dumps(component.table())))
    assert repr(without_files(again)) == repr(without_files(component))  # 1 and 1.0 are equal, and other keys


def keys(path: Path) -> list[str]:
    recipe = load_recipe(path)
    try:
        plan = Plan(recipe)
        return [run_key(recipe), *(stage.folder_name for _, stage in plan)]
    except UserError:  # files of the user's own
        return [repr(recipe.table())]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_has_the_keys_of_its_resolved_copy(path: Path, tmp_path: Path) -> None:
    resolved = tmp_path / "resolved.toml"
    resolved.write_text(tomli_w.dumps(load_recipe(path).table()))
    assert keys(resolved) == keys(path)

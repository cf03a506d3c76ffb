"""Preflight: a look at all that a run needs before anything is fetched, trained or computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pdiff.components import Ahead
from pdiff.components.ahead import parts
from pdiff.errors import UserError
from pdiff.plugins.loading import told
from pdiff.recipe.tables import Recipe


def look_ahead(recipe: Recipe, done: bool = False, trained: bool = False) -> Ahead:
    """Return what all components say of the run.

    `done`: all stages are there, and none is asked; `trained`: the base network is, and needs no weights.
    """
    ahead = Ahead(recipe, "", Path(recipe.run.data), recipe.run.download, _expected(recipe))
    asked = [*parts(recipe), *((f"sample.{key}", step) for key, step in parts(recipe.sample))]
    for key, component in [] if done else asked:
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


def _expected(recipe: Recipe) -> int | None:
    try:
        return recipe.collect.expected()
    except Exception:  # what is wrong with it, it says itself
        return None

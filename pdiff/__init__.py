"""pdiff generates the parameters of neural networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from pdiff.errors import UserError

if TYPE_CHECKING:
    from os import PathLike

    from pdiff.api import Run

__version__ = "0.1.0"
__all__ = ["UserError", "hookimpl", "open_run", "prepare", "run"]

hookimpl = pluggy.HookimplMarker("pdiff")
"""Marks a plugin's function as an implementation of one of the hooks in `pdiff.hookspecs`."""

import pdiff.plugins.discovery  # noqa: E402, F401 - tells components who knows their names


def run(
    recipe: str | PathLike[str], *, set: dict[str, Any] | None = None, quiet: bool = False, console: Any = None
) -> Run:
    """Run a recipe file from start to report, re-using every stage that is there already.

    Args:
        recipe: path of a TOML file, or the name of a recipe in ./recipes or of one that comes with pdiff.
        set: values that replace the file's, by dotted key: `{"sample.count": 50}`.
        quiet: show no progress.
        console: rich console that shows it; by default a new one.

    Raises:
        UserError: for any fault of the recipe or its data, in one line each.
    """
    from pdiff.api import run as run_recipe

    return run_recipe(recipe, set=set, quiet=quiet, console=console)


def open_run(
    name: str | PathLike[str],
    *,
    out: str | PathLike[str] = "runs",
    set: dict[str, Any] | None = None,
    console: Any = None,
) -> Run:
    """Open a finished run: its folder, its recipe's path, or its recipe's name.

    Args:
        name: which run; of several of one recipe the newest.
        out: the folder of results.
        set: values of `run.*` that replace the run's own: `{"run.device": "cpu"}`.
        console: rich console that shows progress; by default a new one.

    Raises:
        UserError: when there is no such run.
    """
    from pdiff.api import open_run as open_existing

    return open_existing(name, out=out, set=set, console=console)


def prepare(recipe: str | PathLike[str], *, set: dict[str, Any] | None = None) -> None:
    """Look whether a recipe can be run: its data are loaded and its network is built, and nothing is computed.

    Args:
        recipe: path of a TOML file, or the name of one of the recipes that come with pdiff.
        set: values that replace the file's, by dotted key.

    Raises:
        UserError: for any fault of the recipe, and for data or weights that are not at hand.
    """
    from pdiff.api import prepare as prepare_recipe

    prepare_recipe(recipe, set=set)

"""pdiff generates the parameters of neural networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from pdiff.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from pdiff.api import Run
    from pdiff.recipe.tables import Recipe

__version__ = "0.1.0"
__all__ = ["UserError", "hookimpl", "open_run", "prepare", "run"]

hookimpl = pluggy.HookimplMarker("pdiff")
"""Marks a plugin's function as an implementation of one of the hooks in `pdiff.hookspecs`."""

import pdiff.plugins.discovery  # noqa: E402, F401 - tells components who knows their names


def run(
    recipe: str | PathLike[str] | Mapping[str, Any] | Recipe | None = None,
    *,
    architecture: Any = None,
    data: Any = None,
    checkpoints: Any = None,
    task: Any = None,
    method: Any = None,
    selector: Any = None,
    plugins: Sequence[str | PathLike[str]] = (),
    set: dict[str, Any] | None = None,
    quiet: bool = False,
    console: Any = None,
    out: str | PathLike[str] = "",
    name: str = "",
) -> Run:
    """Run a recipe from start to report, re-using every stage that is there already.

    A recipe is a file, or what you hand over: `pdiff.run(architecture=MyNet, data=(train, test), checkpoints="there")`.
    Then what is not said is as in quickstart, but for the method, `posterior`: all parameters are generated, and the
    task is classification where targets are whole numbers, else regression.

    What is there is used again while the content of objects is the same: of a network or a function its code, sizes and
    plain attributes; of arrays and tensors all numbers; of a torch Dataset its class, its length and 64 examples evenly
    spread over it, so that a change of others is not seen (`pdiff clean`, or another `out`, forgets what is there).

    Args:
        recipe: path of a TOML file, the name of a recipe in ./recipes or of one that comes with pdiff, a dict of the
            tables, or nothing; keywords replace its tables.
        architecture: a network, its class or a function that builds one (called with `input_shape`, `outputs` or
            `num_classes` where it has such arguments), a component, a table or a name. Of a network only the structure
            is used where there are checkpoints; without any, its weights are what fine-tuning starts from.
        data: (train, validation, test) or (train, test), each a torch Dataset or a pair (inputs, targets) of arrays or
            tensors; or a function that returns that, a component, a table or a name.
        checkpoints: a folder, a list of files, or a list of state dicts or networks; without it, some are made.
        task: a name, a table, a component, or a loss function `loss(outputs, targets)`.
        method: a name, a table or a component.
        selector: the same.
        plugins: Python files that are plugins, beside those that the recipe names.
        set: values that replace the recipe's, by dotted key: `{"sample.count": 50}`.
        quiet: show no progress.
        console: rich console that shows it; by default a new one.
        out: folder of results, by default the recipe's, `runs`.
        name: what the run's folder begins with; by default the recipe's name, or `python`.

    Raises:
        UserError: for any fault of the recipe or its data, in one line each.
    """
    from pdiff.api import run as run_recipe

    return run_recipe(
        recipe, architecture=architecture, data=data, checkpoints=checkpoints, task=task, method=method,
        selector=selector, plugins=plugins, set=set, quiet=quiet, console=console, out=out, name=name,
    )  # fmt: skip


def open_run(
    name: str | PathLike[str],
    *,
    architecture: Any = None,
    data: Any = None,
    task: Any = None,
    out: str | PathLike[str] = "runs",
    set: dict[str, Any] | None = None,
    console: Any = None,
) -> Run:
    """Open a finished run: its folder or address, its recipe's path, or its recipe's name.

    Args:
        name: which run; of several of one recipe the newest.
        architecture: the network that the run was made from, where `pdiff.run` was handed one.
        data: the same of its data.
        task: the same of its loss.
        out: the folder of results, or an address: what is opened is copied from there.
        set: values of `run.*` that replace the run's own: `{"run.device": "cpu"}`.
        console: rich console that shows progress; by default a new one.

    Raises:
        UserError: when there is no such run.
    """
    from pdiff.api import open_run as open_existing

    return open_existing(name, architecture=architecture, data=data, task=task, out=out, set=set, console=console)


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

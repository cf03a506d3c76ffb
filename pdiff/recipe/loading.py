"""From a name to a validated recipe: where it lies, what `--set` replaces, and what of it is wrong."""

from __future__ import annotations

import copy
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pdiff.errors import VALUE, Faults, UserError
from pdiff.files import parse_toml
from pdiff.plugins.discovery import registry
from pdiff.plugins.files import check_kept, find_file, kept
from pdiff.recipe.faults import faults, oddities
from pdiff.recipe.tables import Recipe

HERE = Path("recipes")
"""The folder of the user's own recipes, below the current one; it comes before those that are shipped."""


def shipped_recipes() -> Path:
    """Return the folder of the recipes that come with pdiff.

    A wheel holds them inside this package; in a checkout, from which a development installation imports, they lie at
    the top.
    """
    package = Path(__file__).resolve().parent
    installed = package / "shipped"
    return installed if installed.is_dir() else package.parent.parent / "recipes"


def find_recipe(name: str | Path) -> Path:
    """Return the path of a recipe: a file, or the name of one in ./recipes or among those that come with pdiff.

    Raises UserError, which says where it looked and which recipe has the nearest name.
    """
    path = Path(name)
    folders = (HERE, shipped_recipes())
    for candidate in (path, *(folder / f"{path}{suffix}" for folder in folders for suffix in ("", ".toml"))):
        if candidate.is_file():
            return candidate
    places = f"here, in ./{HERE} or in {folders[1]}"
    raise UserError(f"{path}: no such recipe {places}{_nearest(path, folders)}")


def _nearest(path: Path, folders: tuple[Path, ...]) -> str:
    """Return `; did you mean 'x'?` for the recipe whose name, with or without its folder, is nearest."""
    files = [file.relative_to(folder) for folder in folders for file in sorted(folder.glob("**/*.toml"))]
    names = [file.with_suffix("").as_posix() for file in files]
    spellings = {name.rpartition("/")[2]: name for name in reversed(names)} | {name: name for name in names}
    near = difflib.get_close_matches(path.as_posix().removesuffix(".toml")[:VALUE], spellings, n=1)
    return f"; did you mean {spellings[near[0]]!r}?" if near else ""


def load_recipe(
    path: str | Path, overrides: Mapping[str, Any] | None = None, plugins: Sequence[str | PathLike[str]] = ()
) -> Recipe:
    """Read and validate a recipe, its plugins loaded first. Raises Faults with one line per mistake.

    Args:
        path: TOML file.
        overrides: values by dotted key, as `--set` gives them.
        plugins: files that are plugins, relative to the current folder, beside those that the recipe names.
    """
    path = Path(path)
    return recipe_of(read_tables(path), path, overrides, plugins)


def read_tables(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file as it has them. Raises UserError."""
    try:
        return parse_toml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such recipe") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None


def recipe_of(
    raw: dict[str, Any], path: Path, overrides: Mapping[str, Any] | None = None,
    plugins: Sequence[str | PathLike[str]] = (),
) -> Recipe:  # fmt: skip
    """Return the recipe that tables make, which may hold components; see `load_recipe`. `path` is named in faults."""
    raw = dict(raw)
    for key, value in (overrides or {}).items():
        _set(raw, key, value)
    if odd := [f"{path}: {line}" for line in oddities(raw)]:
        raise Faults(odd)
    try:
        use_plugins(raw, path, plugins)
    except Faults as error:
        try:
            validated(raw, path, "no_component")  # which a plugin that is missing may bring
        except Faults as others:
            raise Faults([*error.lines, *others.lines]) from None
        raise
    return validated(raw, path)


def validated(raw: Mapping[str, Any], path: Path, untold: str = "") -> Recipe:
    """Return the recipe that tables make with the plugins that are loaded. Raises Faults, but of the type `untold`."""
    try:
        return Recipe.model_validate(raw, context={"folder": path.parent})
    except ValidationError as error:
        raise Faults(f"{path}: {line}" for line in faults(error, raw, Recipe, untold)) from None


def use_plugins(raw: dict[str, Any], path: Path, more: Sequence[str | PathLike[str]]) -> None:
    """Load the plugins that a recipe names, and others, and no others; in the tables they then have whole paths."""
    named = raw.get("plugins", [])
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        raise Faults([f"{path}: plugins: give a list of Python files, such as ['mine.py']"])
    files, lacking = list[Path](), list[str]()
    for name, folders in [
        *((name, (path.parent, Path())) for name in named),
        *((fspath(file), (Path(),)) for file in more),
    ]:
        try:
            files.append(find_file(name, folders))
            check_kept(name, files[-1])
        except UserError as error:
            lacking.append(f"{path}: plugins: {error}" if folders[1:] else f"--plugin: {error}")
    if lacking:
        raise Faults(lacking)
    registry().use_files(files)
    if files:
        raw["plugins"] = [kept(file) for file in dict.fromkeys(files)]


def parse_override(text: str, example: str = "--set sample.count=50") -> tuple[str, Any]:
    """Split `a.b=value`; the value is read as TOML where it is that, else as text. Raises UserError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"{example.split()[0]} {text}: write it as key=value, for example {example}")
    try:
        return key.strip(), parse_toml(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value
    except UserError as error:
        raise UserError(f"{example.split()[0]} {key}: {error}") from None


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted key as tables in tables. Raises UserError."""
    tables: dict[str, Any] = {}
    for key, value in values.items():
        _set(tables, key, value, "-o {}: another option has a value there; give one of them")
    return tables


def _set(raw: dict[str, Any], dotted: str, value: Any, fault: str = "--set {}: no such place in the recipe") -> None:
    """Put `value` at `a.b.c`; a number steps into a list."""
    *path, last = dotted.split(".")
    node: Any = raw
    try:
        for part in path:
            key: Any = int(part) if isinstance(node, list) else part
            inner = node[key] if isinstance(node, list) else node.get(key, {})
            node[key] = node = copy.copy(inner)  # the tables may be the caller's
        node[int(last) if isinstance(node, list) else last] = value
    except (IndexError, ValueError, TypeError, AttributeError):
        raise Faults([fault.format(dotted)]) from None

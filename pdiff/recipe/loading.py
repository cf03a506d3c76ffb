"""From a name to a validated recipe: where it lies, what `--set` replaces, and what of it is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pdiff.errors import Faults, UserError, did_you_mean
from pdiff.recipe.faults import faults
from pdiff.recipe.tables import Recipe


def find_recipe(name: str | Path) -> Path:
    """Return the path of a recipe given by path or, below `recipes/`, by name. Raises UserError."""
    path = Path(name)
    for candidate in (path, Path("recipes") / path, Path("recipes") / f"{path}.toml"):
        if candidate.is_file():
            return candidate
    known = [str(file) for file in sorted(Path("recipes").glob("**/*.toml"))]
    near = did_you_mean(str(path), known) or did_you_mean(path.stem, [Path(file).stem for file in known])
    raise UserError(f"{path}: no such recipe here or in ./recipes{near}")


def load_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read and validate a recipe. Raises Faults with one line per mistake.

    Args:
        path: TOML file.
        overrides: values by dotted key, as `--set` gives them.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such recipe") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    for key, value in (overrides or {}).items():
        _set(raw, key, value)
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise Faults(f"{path}: {line}" for line in faults(error, raw, Recipe)) from None


def parse_override(text: str, example: str = "--set sample.count=50") -> tuple[str, Any]:
    """Split `a.b=value`; the value is read as TOML where it is that, else as text. Raises UserError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"{example.split()[0]} {text}: write it as key=value, for example {example}")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted key as tables in tables. Raises UserError."""
    tables: dict[str, Any] = {}
    for key, value in values.items():
        _set(tables, key, value)
    return tables


def _set(raw: dict[str, Any], dotted: str, value: Any) -> None:
    """Put `value` at `a.b.c`; a number steps into a list."""
    *path, last = dotted.split(".")
    node: Any = raw
    try:
        for part in path:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        node[int(last) if isinstance(node, list) else last] = value
    except (IndexError, ValueError, TypeError, AttributeError):
        raise Faults([f"--set {dotted}: there is no such place in the recipe"]) from None

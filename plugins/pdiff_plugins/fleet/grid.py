"""Grid: the cells of a sweep, one for each recipe and each combination of values."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdiff.errors import UserError
from pdiff.recipe.loading import find_recipe, parse_override

OPENS, CLOSES, QUOTES = "[{(", "]})", "\"'"


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    recipe: str
    """Path of its file."""
    changes: Mapping[str, Any]
    """Values that replace the recipe's, by dotted key."""
    group: str
    """What it is called without its seed: cells of one group differ in that alone."""
    seed: int | None = None
    """None: the recipe's own."""

    @property
    def name(self) -> str:
        return self.group if self.seed is None else f"{self.group} seed={self.seed}"


def grid(recipes: Sequence[str], sets: Sequence[str], always: Mapping[str, Any]) -> list[Cell]:
    """Return a cell for each recipe and each combination of the values that `--set KEY=VALUE,VALUE` gives.

    `always`: values of every cell that its name does not bear. Raises UserError where two cells are the same.
    """
    values: dict[str, list[Any]] = {}
    for text in sets:
        key, _, listed = text.partition("=")
        parse_override(text)
        if key.strip() in values:
            raise UserError(f"--set {key.strip()} stands there twice; write its values behind each other: {key}=1,2")
        values[key.strip()] = [parse_override(f"{key}={value}")[1] for value in split(listed)]
    paths = [find_recipe(recipe).absolute() for recipe in recipes]
    names = _names(paths)
    cells = [
        Cell(str(path), dict(always) | chosen, _group(names[path], chosen, values), chosen.get("seed"))
        for path in paths
        for chosen in (dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values()))
    ]
    twice = next((cell for number, cell in enumerate(cells) if cell in cells[:number]), None)
    if twice:
        raise UserError(f"sweep: {twice.name} is asked for twice; give it once")
    return cells


def split(text: str) -> list[str]:
    """Return the values of a list without brackets: `0,1` gives two, `[0,1],"a,b"` two as well."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in QUOTES:
            quote = letter
        elif letter in OPENS + CLOSES:
            depth += 1 if letter in OPENS else -1
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return what recipes are called: their files' names, with so many folders as tell them apart."""
    names = {}
    for path in paths:
        parts = path.with_suffix("").parts
        spellings = ("/".join(parts[-depth:]) for depth in range(1, len(parts)))
        alone = (name for name in spellings if sum(_ends(other, name) for other in set(paths)) == 1)
        names[path] = next(alone, str(path))
    return names


def _ends(path: Path, name: str) -> bool:
    return f"/{path.with_suffix('').as_posix()}".endswith(f"/{name.lstrip('/')}")


def _group(name: str, chosen: Mapping[str, Any], values: Mapping[str, Sequence[Any]]) -> str:
    told = (f"{key}={_value(value)}" for key, value in chosen.items() if key != "seed" and len(values[key]) > 1)
    return " ".join([name, *told])


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def by_group(cells: Sequence[Cell]) -> Iterator[tuple[str, list[int]]]:
    """Yield each group and the numbers of its cells."""
    groups: dict[tuple[str, str], list[int]] = {}
    for number, cell in enumerate(cells):
        rest = {key: value for key, value in cell.changes.items() if key != "seed"}
        groups.setdefault((cell.recipe, repr(rest)), []).append(number)
    for numbers in groups.values():
        yield cells[numbers[0]].group, numbers

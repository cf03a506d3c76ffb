"""What an evaluator gives, in words."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, is_typeddict

from pdiff.components import Component, Evaluator
from pdiff.results.scores import keys

WORDS = {float: "number", int: "integer", str: "string", bool: "boolean", NoneType: "none", Any: "any"}


def scores(component: type[Component]) -> dict[str, list[dict[str, Any]]]:
    """Return the scores that an evaluator declares, `of each source` and `of the run`; nothing of other kinds."""
    if not issubclass(component, Evaluator):
        return {}
    declared = {"of each source": component.source_scores, "of the run": component.run_scores}
    return {what: _rows(table) for what, table in declared.items() if table}


def _rows(table: type, prefix: str = "") -> list[dict[str, Any]]:
    """Return a row per key, those of tables within it after their own, `*` for a key of any name."""
    rows = []
    for key in keys(table):
        row = {"name": prefix + key.name, "type": words(key.hint), "required": key.required, "description": key.about}
        rows.append(row)
        place, inner = f"{prefix}{key.name}.", key.hint
        while (origin := get_origin(inner)) in (dict, list):
            place, inner = f"{place}*." if origin is dict else place, get_args(inner)[-1]
        if is_typeddict(inner):
            rows += _rows(inner, place)
    return rows


def words(hint: Any) -> str:
    """Return a type in words: `list of number`, `string or none`, `table of integer`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(words, arguments))
    if origin is list:
        return f"list of {words(arguments[0])}"
    if origin is dict:
        inner = words(arguments[1])
        return "table" if inner == "any" else f"table of {inner}"
    return "table" if is_typeddict(hint) else WORDS.get(hint, getattr(hint, "__name__", str(hint)))

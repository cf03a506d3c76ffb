"""What is wrong with a recipe, one line per fault: where, the value, what was expected, the nearest known key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pdiff.components import Component, merge
from pdiff.errors import VALUE, did_you_mean, short
from pdiff.steps import listed

DEEPEST = 30
"""Tables and lists in one another."""


def oddities(raw: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each value that no option can take, whatever the model: too deep, too large, NUL in a text."""
    todo: list[tuple[tuple[Any, ...], Any]] = [((), raw)]
    while todo:
        loc, value = todo.pop()
        if len(loc) > DEEPEST:
            yield f"{_place(loc)}: nested more than {DEEPEST} deep; no option is"
        elif isinstance(value, Mapping | list | tuple):
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            todo += reversed([((*loc, key), item) for key, item in items])
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            yield f"{_place(loc)}: an integer of {value.bit_length()} bits; at most 64 are read"
        elif isinstance(value, str) and "\0" in value:
            yield f"{_place(loc)} = {short(repr(value), VALUE)}: holds a NUL character; take it out"


def faults(error: ValidationError, raw: Mapping[str, Any], model: type[BaseModel], untold: str = "") -> list[str]:
    """Return one line per fault: key path, value found, what was expected, nearest known key.

    Args:
        error: what validation raised.
        raw: the tables that were validated, as the file has them.
        model: what they were validated against.
        untold: a type of fault that is left out.
    """
    return [_fault(row, raw, model) for row in error.errors(include_url=False) if row["type"] != untold]


def _fault(row: Any, raw: Mapping[str, Any], model: type[BaseModel]) -> str:
    where = _place(row["loc"])
    if row["type"] == "extra_forbidden":
        known = _known_keys(row["loc"][:-1], raw, model)
        return f"{where}: unknown key{did_you_mean(str(row['loc'][-1]), known)}; known: {', '.join(known)}"
    if row["type"] == "missing":
        return f"{where}: missing; add it{_hint(row['loc'], raw, model)}"
    value = f" = {short(repr(row['input']), VALUE)}" if not isinstance(row["input"], Mapping | list) else ""
    message = row["msg"][0].lower() + row["msg"][1:] if row["msg"].startswith("Input") else row["msg"]
    return f"{where}{value}: {message}" if where else message


def _hint(loc: tuple[Any, ...], raw: Any, model: type[BaseModel]) -> str:
    """Name the components that a missing table could ask for, or a value that the option knows to be usual."""
    from pdiff.plugins.discovery import registry

    field = _model_at(loc[:-1], raw, model).model_fields[loc[-1]]
    if field.examples:
        return f", for example {loc[-1]} = {json.dumps(field.examples[0])}"
    kind = getattr(_model_of(field.annotation), "kind", "")
    return f" with name = one of: {registry().known(kind)}" if kind else ""


def _place(loc: tuple[Any, ...]) -> str:
    return short(dotted(loc), 2 * VALUE)


def dotted(loc: tuple[Any, ...]) -> str:
    """Return `method.codec.latent` or `evaluate[0].name`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model that an annotation names, alone, inside a tuple, or beside what is no table."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_of(inner))), None)


def _known_keys(loc: tuple[Any, ...], raw: Any, top: type[BaseModel]) -> list[str]:
    """Return the keys that the table at `loc`, below the model `top`, may have."""
    model = _model_at(loc, raw, top)
    named = ["name"] if issubclass(model, Component) else []
    return named + list(model.model_fields)


def _model_at(loc: tuple[Any, ...], raw: Any, top: type[BaseModel]) -> type[BaseModel]:
    """Return the model of the table at `loc`, below the model `top`."""
    from pdiff.plugins.discovery import registry

    model: Any = top
    parts = list(loc)
    while parts:
        field = parts.pop(0)
        about, raw = model.model_fields[field], raw[field]
        if parts and isinstance(parts[0], int):
            raw = listed(raw)[parts.pop(0)]
        model = _model_of(about.annotation)
        if issubclass(model, Component):
            default = about.default.table() if isinstance(about.default, Component) else {}
            raw = {"name": raw} if isinstance(raw, str) else raw
            model, values = registry().find(model.kind, merge(default, raw)["name"])
            raw = merge(values, raw)
    return model  # type: ignore[no-any-return]

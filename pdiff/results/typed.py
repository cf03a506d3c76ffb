"""Typed: the keys of a TypedDict, each with its type and what `Annotated` says of it."""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

from pdiff.errors import UserError

WORDS = {float: "number", int: "integer", str: "string", bool: "boolean", NoneType: "none", Any: "any"}


@dataclass(frozen=True)
class Key:
    """One key of a TypedDict."""

    name: str
    hint: Any
    """Its type, without `Annotated`."""
    required: bool
    about: str
    """The text that its type is annotated with."""


def keys(table: type) -> list[Key]:
    """Return the keys of a TypedDict, its bases' first. Raises UserError where a type is not known at run time."""
    try:
        hints = get_type_hints(table, include_extras=True)
    except NameError as error:
        raise UserError(f"{table.__qualname__}: {error}; import it outside of TYPE_CHECKING") from None
    return [_key(name, hint, name in table.__required_keys__) for name, hint in hints.items()]  # type: ignore[attr-defined]


def _key(name: str, hint: Any, required: bool) -> Key:
    about = ""
    while (origin := get_origin(hint)) in (Annotated, NotRequired, Required):
        required = required and origin is not NotRequired
        if origin is Annotated:
            about = next((text for text in hint.__metadata__ if isinstance(text, str)), about)
            hint = hint.__origin__
        else:
            (hint,) = get_args(hint)
    return Key(name, hint, required, about)


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
    if is_typeddict(hint):
        return f"table ({', '.join(key.name for key in keys(hint))})"
    return WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def fits(value: Any, hint: Any) -> bool:
    """Return whether JSON is of a type; a whole number is a number, too, and a table has the keys that it must have."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is list:
        return isinstance(value, list) and all(fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(item, arguments[1]) for item in value.values())
    if is_typeddict(hint):
        return isinstance(value, dict) and not misfits(value, hint)
    if hint in (float, int):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return hint is Any or (value is None if hint in (None, NoneType) else isinstance(value, origin or hint))


def misfits(value: dict[str, Any], table: type) -> list[str]:
    """Return what is wrong with a mapping that is to be a TypedDict, a line each."""
    known = {key.name: key for key in keys(table)}
    lines = [f"{name!r} is no key of {table.__name__}" for name in value if name not in known]
    lines += [
        f"lacks {key.name!r} of {table.__name__}" for key in known.values() if key.required and key.name not in value
    ]
    wrong = [key for key in known.values() if key.name in value and not fits(value[key.name], key.hint)]
    return lines + [
        f"{key.name!r} of {table.__name__} is no {words(key.hint)}: {value[key.name]!r:.80}" for key in wrong
    ]

"""What plugins provide and what a component's options are, as JSON-ready data for `list-plugins` and `describe`."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from pdiff.components import KINDS, Component, Transform, merge, plain
from pdiff.plugins.discovery import registry
from pdiff.plugins.listing import check_kind
from pdiff_plugins.handbook.scores import scores

HEADERS = {
    "collector": "collect",
    "codec": "method.codec",
    "denoiser": "method.denoiser",
    "evaluator": "evaluate",
    "tracker": "run.track",
    "transform": "zoo",
}
"""Where a kind stands in a recipe, unless the table is called like the kind."""
REPEATED = ("evaluator", "report", "tracker", "transform")
BOUNDS = {
    "exclusiveMinimum": "> {}", "minimum": ">= {}", "exclusiveMaximum": "< {}", "maximum": "<= {}",
    "multipleOf": "multiple of {}", "minLength": "at least {} long", "pattern": "like {}",
}  # fmt: skip


def names(kind: str) -> list[tuple[str, str, str]]:
    """Return (name, plugin, first line of help) for every name of a kind, a preset marked as such."""
    rows = []
    for plugin, name, component, _ in registry().offers(check_kind(kind)):
        preset = f"preset of {component.name}: " if name != component.name else ""
        rows.append((name, plugin, preset + help_of(component).splitlines()[0]))
    return sorted(rows)


def help_of(component: type[Component]) -> str:
    """Return a component's docstring, without indentation."""
    return inspect.cleandoc(component.__dict__.get("__doc__") or "")


def about(kind: str, name: str) -> dict[str, Any]:
    """Return everything that there is to know of a component or a preset. Raises UserError."""
    component, values = registry().find(check_kind(kind), name)
    plugin = next(p for p in registry().plugins if component in p.components)
    bare = name.rpartition(":")[2]
    return {
        "kind": kind, "name": bare, "preset_of": component.name if bare != component.name else "",
        "help": help_of(component), "source": component.source, "plugin": plugin.name,
        "distribution": plugin.distribution, "version": plugin.version,
        "class": f"{component.__module__}.{component.__qualname__}",
        "options": options(component), "table": _resolved(component, values), "set": _keys(values),
        "presets": {preset: _preset(component, changes) for preset, changes in component.presets.items()},
        "scores": scores(component),
    }  # fmt: skip


def _defaults(component: type[BaseModel]) -> dict[str, Any]:
    """Return the default of each option that has one, components as their tables."""
    fields = {name: field for name, field in component.model_fields.items() if not field.is_required()}
    return {name: plain(field.get_default(call_default_factory=True)) for name, field in fields.items()}


def _resolved(component: type[Component], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe table that a name stands for; options without a default are left out."""
    try:
        return component.model_validate(values).table()
    except ValidationError:
        return {"name": component.name} | merge(_defaults(component), plain(values))


def _preset(component: type[Component], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a preset that are not the component's defaults, a nested table whole."""
    default = _resolved(component, {})
    return {key: value for key, value in _resolved(component, values).items() if value != default.get(key)}


def options(component: type[BaseModel]) -> list[dict[str, Any]]:
    schema = component.model_json_schema(schema_generator=_Schema)
    kinds = {base.__name__: kind for kind, base in KINDS.items()}
    return [
        {
            "name": name, "type": _type(schema["properties"][name], kinds), "required": field.is_required(),
            "default": _defaults(component).get(name), "description": _description(field),
        }
        for name, field in component.model_fields.items()
    ]  # fmt: skip


class _Schema(GenerateJsonSchema):
    """A JSON schema for whatever a field may be; what has none is of any type."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        return {}


def _description(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _type(schema: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    """Return a JSON schema in the words of TOML: `integer > 0`, `'a' | 'b'`, `list of number, at least 1`."""
    if "$ref" in schema:
        title = schema["$ref"].rpartition("/")[2]
        return f"table: a {kinds[title]}" if title in kinds else "table"
    if "enum" in schema or "const" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(_type(option, kinds) for option in schema["anyOf"])
    if "prefixItems" in schema:
        return f"[{', '.join(_type(item, kinds) for item in schema['prefixItems'])}]"
    if schema.get("type") == "array":
        least = f", at least {schema['minItems']}" if "minItems" in schema else ""
        most = f", at most {schema['maxItems']}" if "maxItems" in schema else ""
        return f"list of {_type(schema.get('items', {}), kinds)}{least}{most}"
    bounds = [text.format(schema[key]) for key, text in BOUNDS.items() if key in schema]
    word = schema.get("type", "any")
    return f"{'table' if word == 'object' else word} {', '.join(bounds)}".strip()


def _keys(table: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys of a nested table."""
    keys: list[str] = []
    for key, value in table.items():
        keys += _keys(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"]
    return keys


def as_recipe(
    kind: str, table: Mapping[str, Any], *, mark: Sequence[str] = (), required: Sequence[str] = ()
) -> Iterator[str]:
    """Yield the lines of a table as a recipe holds it, those of the dotted keys `mark` marked."""
    header = _header(kind, table["name"])
    nested: Any = dict(table)
    for table_name in reversed(header.split(".")):
        nested = {table_name: nested}
    place = ""
    for line in _LIST.sub(_on_one_line, tomli_w.dumps(nested)).splitlines():
        if line == f"[{header}]":
            yield f"[{line}]" if kind in REPEATED else line
            continue
        if line.startswith("["):
            place = line.strip("[]").removeprefix(f"{header}.") + "."
        key = re.match(r"[\w-]+(?= = )", line)
        yield f"{line}  # set by the preset" if key and place + key[0] in mark else line
        if line.startswith("name = ") and not place:
            yield from (f"{option} = ...  # required" for option in required)


def _header(kind: str, name: str) -> str:
    """Return where a component stands in a recipe: a step on samples alone not among those on the zoo."""
    component, _ = registry().find(kind, name)
    if issubclass(component, Transform) and not component.takes("zoo"):
        return "sample.step"
    return HEADERS.get(kind, kind)


_LIST = re.compile(r"\[\n([^\[\]]*),\n\]")


def _on_one_line(match: re.Match[str]) -> str:
    return "[" + ", ".join(item.strip() for item in match[1].split(",\n")) + "]"

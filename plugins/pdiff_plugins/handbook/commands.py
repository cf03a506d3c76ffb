"""`pdiff describe` and `pdiff new-plugin`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pdiff.cli.options import Plugins, use_plugins

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def describe(
    kind: Annotated[str, typer.Argument(help="architecture, dataset, method, ...")],
    name: Annotated[str, typer.Argument(help="A name as `pdiff list-plugins` shows it; none lists them all.")] = "",
    as_json: Json = False,
    plugin: Plugins = None,
) -> None:
    """Describe a component: its options, source and presets."""
    use_plugins(plugin)
    from pdiff.cli.text import print_table
    from pdiff_plugins.handbook.describe import about, names

    if as_json:
        print(json.dumps(about(kind, name) if name else [list(row) for row in names(kind)], indent=1))
    elif name:
        _print(about(kind, name))
    else:
        print_table(["name", "plugin", "what it is"], [list(row) for row in names(kind)])


def _print(about: dict[str, Any]) -> None:
    from pdiff.cli.text import print_table
    from pdiff_plugins.handbook.describe import as_recipe

    kind, options, preset = about["kind"], about["options"], about["preset_of"]
    _say(f"{kind} {about['name']}{f', a preset of {preset}' if preset else ''}\n\n{about['help']}\n")
    _say(f"source: {about['source']}") if about["source"] else None
    _say(f"plugin: {about['plugin']}, of {about['distribution']} {about['version']} ({about['class']})\n")
    rows = [[o["name"], o["type"], _default(o), o["description"]] for o in options]
    print_table(["option", "type", "default", "description"], rows) if rows else _say("It has no options.")
    for what, scores in about["scores"].items():
        _say()
        print_table([f"score {what}", "type", "what it is"], [_score(score) for score in scores])
    required = [o["name"] for o in options if o["required"] and o["name"] not in about["table"]]
    _say(f"\nIn a recipe, {about['name']!r} stands for:\n")
    _indent(as_recipe(kind, about["table"], mark=about["set"], required=required))
    for name, values in about["presets"].items() if not preset else ():
        _say(f"\nPreset {name!r}: the same, but for\n")
        _indent(as_recipe(kind, {"name": name} | values))


def _score(score: Mapping[str, Any]) -> list[str]:
    return [score["name"], score["type"] if score["required"] else f"{score['type']}, not always", score["description"]]


def _say(text: str = "") -> None:
    from pdiff.cli.text import print_lines

    print_lines([text])


def _indent(lines: Iterable[str]) -> None:
    _say("\n".join(f"    {line}".rstrip() for line in lines))


def _default(option: Mapping[str, Any]) -> str:
    """Return an option's default as a recipe writes it, a component by its name."""
    if option["required"]:
        return "(required)"
    value = option["default"]
    return str(value["name"]) if isinstance(value, Mapping) and "name" in value else json.dumps(value)


def new_plugin(
    name: Annotated[str, typer.Argument(help="Its name in lower_snake_case; the package becomes pdiff-NAME.")],
    kind: Annotated[str, typer.Option(help="What it registers: architecture, dataset, method, ...")] = "architecture",
    to: Annotated[Path, typer.Option(help="Folder in which the package's folder is made.")] = Path("."),
) -> None:
    """Write a package with a working plugin and its test."""
    from pdiff_plugins.handbook.scaffold import new_plugin as write

    folder = write(name, to, kind)
    _say(f"wrote {folder}\n\n    cd {folder}\n    pip install -e '.[test]'\n    pytest\n    pdiff list-plugins")

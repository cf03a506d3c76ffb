"""`pdiff list-plugins`, `pdiff describe` and `pdiff new-plugin`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    app.command()(list_plugins)
    app.command()(describe)
    app.command()(new_plugin)


def list_plugins(
    kind: Annotated[str, typer.Option(help="Only what is of this kind: architecture, dataset, method, ...")] = "",
    as_json: Json = False,
) -> None:
    """List the plugins that are installed, and what each provides."""
    from pdiff.cli.text import console, print_table
    from pdiff.plugins.describe import about_plugin, check_kind
    from pdiff.plugins.discovery import registry

    plugins = [about_plugin(plugin, kind and check_kind(kind)) for plugin in registry().plugins]
    # A plugin that failed is always shown: what it would provide, nobody knows.
    plugins = [plugin for plugin in plugins if not kind or plugin["provides"] or plugin["failure"]]
    if as_json:
        print(json.dumps(plugins, indent=1))
        return
    rows = [[p["plugin"], f"{p['distribution']} {p['version']}", "\n".join(_provides(p, kind))] for p in plugins]
    print_table(["plugin", "distribution", "provides"], rows)
    if any(plugin["failure"] for plugin in plugins):
        console().print("\nplugins that FAILED provide nothing; the others are not affected", highlight=False)


def _provides(plugin: Mapping[str, Any], kind: str) -> Iterator[str]:
    if plugin["failure"]:
        yield f"FAILED: {plugin['failure']}"
    for provided, names in plugin["provides"].items():
        yield f"{provided}: {', '.join(names)}"
    other = [hook for hook in plugin["hooks"] if hook == "register_commands" or not hook.startswith("register_")]
    if other and not kind:
        yield f"hooks: {', '.join(other)}"


def describe(
    kind: Annotated[str, typer.Argument(help="architecture, dataset, method, ...")],
    name: Annotated[str, typer.Argument(help="A name as `pdiff list-plugins` shows it; none lists them all.")] = "",
    as_json: Json = False,
) -> None:
    """Describe a component: its options, where it comes from, its presets."""
    from pdiff.cli.text import print_table
    from pdiff.plugins.describe import about, names

    if as_json:
        print(json.dumps(about(kind, name) if name else [list(row) for row in names(kind)], indent=1))
    elif name:
        _print(about(kind, name))
    else:
        print_table(["name", "plugin", "what it is"], [list(row) for row in names(kind)])


def _print(about: dict[str, Any]) -> None:
    from pdiff.cli.text import print_table
    from pdiff.plugins.describe import as_recipe

    kind, options, preset = about["kind"], about["options"], about["preset_of"]
    _say(f"{kind} {about['name']}{f', a preset of {preset}' if preset else ''}\n\n{about['help']}\n")
    _say(f"source: {about['source']}") if about["source"] else None
    _say(f"plugin: {about['plugin']}, of {about['distribution']} {about['version']} ({about['class']})\n")
    rows = [[o["name"], o["type"], _default(o), o["description"]] for o in options]
    print_table(["option", "type", "default", "description"], rows) if rows else _say("It has no options.")
    required = [o["name"] for o in options if o["required"] and o["name"] not in about["table"]]
    _say(f"\nIn a recipe, {about['name']!r} stands for:\n")
    _indent(as_recipe(kind, about["table"], mark=about["set"], required=required))
    for name, values in about["presets"].items() if not preset else ():
        _say(f"\nPreset {name!r}: the same, but for\n")
        _indent(as_recipe(kind, {"name": name} | values))


def _say(text: str = "") -> None:
    from pdiff.cli.text import console

    console().print(text, markup=False, highlight=False, soft_wrap=True)


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
    to: Annotated[Path, typer.Option(help="Folder in which the package's folder is made.")] = Path("."),
) -> None:
    """Write a package with a working plugin, its test and its README."""
    from pdiff.cli.scaffold import new_plugin as write

    folder = write(name, to)
    _say(f"wrote {folder}\n\n    cd {folder}\n    pip install -e '.[test]'\n    pytest\n    pdiff list-plugins")

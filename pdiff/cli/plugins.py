"""`pdiff list-plugins`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from pdiff.cli.options import Plugins, use_plugins


def register(app: typer.Typer) -> None:
    app.command()(list_plugins)


def list_plugins(
    kind: Annotated[str, typer.Option(help="Only of this kind: architecture, dataset, method, ...")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plugin: Plugins = None,
) -> None:
    """List the plugins that are installed, and what each provides."""
    use_plugins(plugin)
    from pdiff.cli.text import console, print_table
    from pdiff.plugins.discovery import registry
    from pdiff.plugins.listing import about_plugin, check_kind

    plugins = [about_plugin(plugin, kind and check_kind(kind)) for plugin in registry().plugins]
    # A plugin that failed is always shown: what it would provide, nobody knows.
    plugins = [plugin for plugin in plugins if not kind or plugin["provides"] or plugin["failure"]]
    if as_json:
        print(json.dumps(plugins, indent=1))
        return
    rows = [[p["plugin"], f"{p['distribution']} {p['version']}", "\n".join(_provides(p, kind))] for p in plugins]
    print_table(["plugin", "distribution", "provides"], rows)
    if any(plugin["failure"] for plugin in plugins):
        console().print("\nwhat FAILED is left out; the others are not affected", highlight=False)


def _provides(plugin: Mapping[str, Any], kind: str) -> Iterator[str]:
    if plugin["failure"]:
        yield f"FAILED: {plugin['failure']}"
    for provided, names in plugin["provides"].items():
        yield f"{provided}: {', '.join(names)}"
    other = [hook for hook in plugin["hooks"] if hook == "register_commands" or not hook.startswith("register_")]
    if other and not kind:
        yield f"hooks: {', '.join(other)}"

"""What there is to look up: components and their options, and how to begin a plugin."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl


@hookimpl
def register_commands(app: Any) -> None:
    from pdiff_plugins.handbook.commands import describe, new_plugin

    app.command()(describe)
    app.command()(new_plugin)

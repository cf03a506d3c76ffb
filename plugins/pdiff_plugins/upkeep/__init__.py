"""Upkeep of a folder of results: what runs there are, and what none of them uses."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl


@hookimpl
def register_commands(app: Any) -> None:
    from pdiff_plugins.upkeep.commands import clean, runs

    app.command()(runs)
    app.command()(clean)

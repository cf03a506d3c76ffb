"""Upkeep of a folder of results: what runs there are, what none of them uses, and copies of runs from elsewhere."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl


@hookimpl
def register_commands(app: Any) -> None:
    from pdiff_plugins.upkeep.commands import clean, fetch, runs

    app.command()(runs)
    app.command()(clean)
    app.command()(fetch)

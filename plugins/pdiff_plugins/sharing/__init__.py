"""Networks for others: a folder that timm and torch load, with a model card, and the same on the Hugging Face hub."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl


@hookimpl
def register_commands(app: Any) -> None:
    from pdiff_plugins.sharing.commands import push

    app.command()(push)

"""What a run's networks say of examples that nobody has labelled: `pdiff predict`."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl


@hookimpl
def register_commands(app: Any) -> None:
    from pdiff_plugins.predicting.commands import predict

    app.command()(predict)

"""Fleet: many cells on many machines, by engines that exist; `pdiff sweep`."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl


@hookimpl
def register_commands(app: Any) -> None:
    from pdiff_plugins.fleet.commands import sweep

    app.command()(sweep)


@hookimpl
def register_engines(register: Any) -> None:
    from pdiff_plugins.fleet.engines.local import Local
    from pdiff_plugins.fleet.engines.ray import Ray
    from pdiff_plugins.fleet.engines.slurm import Submitit

    for engine in (Local, Submitit, Ray):
        register(engine)

"""Networks in few bits: on a grid, or with most weights cut away."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl


@hookimpl
def register_transforms(register: Any) -> None:
    from pdiff_plugins.bits.steps import Cut, Rounded

    register(Rounded)
    register(Cut)


@hookimpl
def register_methods(register: Any) -> None:
    from pdiff_plugins.bits.baselines import Afterwards, Marginals

    register(Marginals)
    register(Afterwards)


@hookimpl
def register_evaluators(register: Any) -> None:
    from pdiff_plugins.bits.evaluator import Bits

    register(Bits)


@hookimpl
def register_commands(app: Any) -> None:
    from pdiff_plugins.bits.command import pack

    app.command()(pack)

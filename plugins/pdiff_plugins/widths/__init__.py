"""One generator for networks of several widths."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.widths.collector import Widths
from pdiff_plugins.widths.encoder import Width
from pdiff_plugins.widths.evaluator import WidthScores
from pdiff_plugins.widths.method import UnitDiffusion


@hookimpl
def register_collectors(register: Any) -> None:
    register(Widths)


@hookimpl
def register_encoders(register: Any) -> None:
    register(Width)


@hookimpl
def register_methods(register: Any) -> None:
    register(UnitDiffusion)


@hookimpl
def register_evaluators(register: Any) -> None:
    register(WidthScores)


@hookimpl
def register_commands(app: Any) -> None:
    from pdiff_plugins.widths.command import narrow

    app.command()(narrow)

"""Uncertainty: what an ensemble of generated networks is worth, beside all that could be done instead."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl


@hookimpl
def register_evaluators(register: Any) -> None:
    from pdiff_plugins.uncertainty.evaluator import Uncertainty

    register(Uncertainty)

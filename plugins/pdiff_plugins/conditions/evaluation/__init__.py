"""How well networks do what they are asked for, on tasks that no method has seen."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.conditions.evaluation.evaluator import Conditions


@hookimpl
def register_evaluators(register: Any) -> None:
    register(Conditions)

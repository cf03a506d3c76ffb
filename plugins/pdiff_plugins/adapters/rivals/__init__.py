"""Generated adapters beside one adapter for all tasks."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.adapters.rivals.evaluator import Adapters


@hookimpl
def register_evaluators(register: Any) -> None:
    register(Adapters)

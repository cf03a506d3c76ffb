"""The audit: what a population of networks is worth, beside everything plainer."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.audit.evaluator import Audit


@hookimpl
def register_evaluators(register: Any) -> None:
    register(Audit)

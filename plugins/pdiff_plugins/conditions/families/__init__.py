"""Families of tasks: one set of examples, many things to be asked of it."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.conditions.families.shifts import Shifts
from pdiff_plugins.conditions.families.subsets import Subsets


@hookimpl
def register_tasks(register: Any) -> None:
    register(Subsets)
    register(Shifts)

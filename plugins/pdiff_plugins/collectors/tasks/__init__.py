"""Zoos of tasks: one network for each, trained together."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.collectors.tasks.collector import Tasks


@hookimpl
def register_collectors(register: Any) -> None:
    register(Tasks)

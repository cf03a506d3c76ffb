"""Few shots: tasks that are told by a few examples of each class."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.conditions.shots.embedded import Embedded
from pdiff_plugins.conditions.shots.orders import Orders


@hookimpl
def register_datasets(register: Any) -> None:
    register(Embedded)


@hookimpl
def register_tasks(register: Any) -> None:
    register(Orders)

"""The plain ways from a condition to a network: copies, averages and regressions."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.conditions.controls.directions import AttributeDirections
from pdiff_plugins.conditions.controls.kernel import Kernel
from pdiff_plugins.conditions.controls.near import Nearest, Neighbours
from pdiff_plugins.conditions.controls.ridge import Ridge


@hookimpl
def register_methods(register: Any) -> None:
    for method in (Nearest, Neighbours, Ridge, Kernel, AttributeDirections):
        register(method)

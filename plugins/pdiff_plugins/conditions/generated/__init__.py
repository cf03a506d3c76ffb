"""Networks that are functions of a condition: written by another network, or one network that is told the condition."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.conditions.generated.methods import Hypernetwork, Multitask


@hookimpl
def register_methods(register: Any) -> None:
    register(Hypernetwork)
    register(Multitask)

"""Adapters: low-rank factors added to the layers of a frozen network."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.adapters.selector import Lora


@hookimpl
def register_selectors(register: Any) -> None:
    register(Lora)

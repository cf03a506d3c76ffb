"""What others generate adapters of language models with, in its published sizes."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.adapters.presets.method import TextToLora


@hookimpl
def register_methods(register: Any) -> None:
    register(TextToLora)

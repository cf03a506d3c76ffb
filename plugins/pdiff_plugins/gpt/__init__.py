"""G.pt: ask for a measure, get a network."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.gpt.method import Gpt
from pdiff_plugins.gpt.prompts.evaluator import Prompts


@hookimpl
def register_methods(register: Any) -> None:
    register(Gpt)


@hookimpl
def register_evaluators(register: Any) -> None:
    register(Prompts)

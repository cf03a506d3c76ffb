"""Gaussians of low rank, trained by the task."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.posterior.method import Posterior


@hookimpl
def register_methods(register: Any) -> None:
    register(Posterior)

"""Ensembles around one trained network: Laplace approximations of its posterior, and dropout left on."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.bayes.laplace.dropout import Dropout
from pdiff_plugins.bayes.laplace.method import Laplace


@hookimpl
def register_methods(register: Any) -> None:
    for method in (Laplace, Dropout):
        register(method)

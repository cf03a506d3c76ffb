"""Hamiltonian Monte Carlo: networks drawn from the posterior of their parameters."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.bayes.hmc.method import Hmc


@hookimpl
def register_methods(register: Any) -> None:
    register(Hmc)

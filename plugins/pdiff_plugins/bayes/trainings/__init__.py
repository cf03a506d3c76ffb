"""Further trainings: a deep ensemble, and the lone network that is trained for as long as something else costs."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.bayes.trainings.methods import DeepEnsemble, Lone


@hookimpl
def register_methods(register: Any) -> None:
    for method in (DeepEnsemble, Lone):
        register(method)

"""Scores of populations."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.evaluators.accuracy import Accuracy
from pdiff_plugins.evaluators.denoising import Denoising, Front
from pdiff_plugins.evaluators.distance import Distance
from pdiff_plugins.evaluators.similarity import Similarity


@hookimpl
def register_evaluators(register: Any) -> None:
    for evaluator in (Accuracy, Similarity, Distance, Denoising, Front):
        register(evaluator)

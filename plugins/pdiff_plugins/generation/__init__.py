"""Networks that generate images, as checkpoints of a zoo."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.generation.data import GenerationData
from pdiff_plugins.generation.evaluator import Frechet
from pdiff_plugins.generation.networks import DdpmUnet, DigitFeatures, Inception
from pdiff_plugins.generation.task import Generation


@hookimpl
def register_architectures(register: Any) -> None:
    for component in (DdpmUnet, Inception, DigitFeatures):
        register(component)


@hookimpl
def register_datasets(register: Any) -> None:
    register(GenerationData)


@hookimpl
def register_tasks(register: Any) -> None:
    register(Generation)


@hookimpl
def register_evaluators(register: Any) -> None:
    register(Frechet)

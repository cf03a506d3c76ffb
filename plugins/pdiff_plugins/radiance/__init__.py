"""Networks that are scenes in colour: rendered from posed views, generated from a description, drawn and judged."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.radiance.captures.dataset import PosedImages
from pdiff_plugins.radiance.evaluation.evaluator import Scenes
from pdiff_plugins.radiance.network import RadianceMlp
from pdiff_plugins.radiance.scenes.dataset import Scenes3d
from pdiff_plugins.radiance.task import Radiance


@hookimpl
def register_architectures(register: Any) -> None:
    register(RadianceMlp)


@hookimpl
def register_datasets(register: Any) -> None:
    register(Scenes3d)
    register(PosedImages)


@hookimpl
def register_tasks(register: Any) -> None:
    register(Radiance)


@hookimpl
def register_evaluators(register: Any) -> None:
    register(Scenes)

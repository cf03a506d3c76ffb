"""What a run's ensembles are of: which sources have one, what calibrates it, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pdiff.components import Family, Generator
from pdiff.data import Chosen
from pdiff.engine.pipeline import Pipeline
from pdiff.errors import UserError


def answering(pipeline: Pipeline, source: str) -> Generator | None:
    """Return the generator of a source whose members are no networks: its `answers` are theirs; else None."""
    if source not in pipeline.plan.methods or not pipeline.store.has(pipeline.plan.fit(source)):
        return None
    generator = pipeline.generator(source)
    if type(generator).answers is Generator.answers:
        return None
    first = Chosen(pipeline.bench.examples("test"), torch.zeros(1, dtype=torch.int64))
    given = generator.answers(first, 1, pipeline.bench, pipeline.context("answers", source))
    return None if given is None else generator


def check_average(pipeline: Pipeline, source: str, count: int) -> None:
    """Raise UserError where so many networks of a source stand for no ensemble."""
    if not isinstance(count, int) or count < 1:
        raise UserError(f"ensemble({count!r}): an ensemble of no networks; give a whole number of at least 1")
    about = pipeline.about(source) if isinstance(pipeline.recipe.task, Family) else None
    if about and any(other != about[0] for other in about):
        raise UserError(
            f"{pipeline.name}: networks of {source} are each for a task of its own, which no average is for; ask for "
            "one first, as run.drawing(condition='01')"
        )
    if answering(pipeline, source):
        raise UserError(
            f"{pipeline.name}: the members of {source} are no networks that stand by themselves; pdiff predict asks "
            f"them, with --source {source}"
        )


def temperatures(scores: Mapping[str, Any], source: str) -> dict[int, float]:
    """Return by what to divide logarithms of probabilities of so many members of a source so that they are calibrated.

    These are the scores `temperature` that evaluators gave for ensembles of so many `members`.
    """
    evaluated = [of for of in scores["networks"].get(source, {}).values() if isinstance(of, Mapping)]
    known = [of for of in evaluated if of.get("members") and of.get("temperature")]
    return {of["members"]: float(of["temperature"]) for of in known}


def told(pipeline: Pipeline, source: str, temperature: float | None) -> dict[str, Any]:
    """Return what an ensemble is, as `Ensemble.about` has it."""
    return {
        "run": pipeline.name, "source": source, "dataset": pipeline.recipe.dataset.name,
        "task": pipeline.recipe.task.name, "classes": list(pipeline.data.names) or None, "temperature": temperature,
    }  # fmt: skip

"""From a path to what an ensemble of a run says of the examples there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdiff.api import Run, open_run
from pdiff.data import Inputs, TensorSplit, leaves
from pdiff.errors import UserError
from pdiff.exporting.ensemble import uncertainty
from pdiff.members import answering, temperatures
from pdiff.results.export import check_new
from pdiff_plugins.predicting.examples import examples_at
from pdiff_plugins.predicting.told import Told, paths_in

NUMBERS, MOST = 2**23, 256
"""Numbers of inputs, and examples, that are asked about at a time."""
CELLS = 2**23
"""Probabilities that are written at most: each takes some hundred bytes before it is."""
Answers = Callable[[Inputs, float], Mapping[str, Tensor]]
"""(inputs, temperature) -> what `pdiff.exporting.ensemble.uncertainty` gives of them."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a run; see the options of `pdiff predict`."""

    path: Path
    source: str = ""
    members: int = 16
    calibrated: bool = True
    raw: bool | None = None
    key: str = ""
    top: int = 0


def predict_to(
    run: str, asked: Asked, to: str = "", overwrite: bool = False, **opening: Any
) -> tuple[Told, list[Path]]:
    """Open a run, predict, and write both files; see `predict`. Raises UserError, after which nothing is written."""
    opened = open_run(run, **opening)
    folder = Path(to) if to else opened.folder
    check_new(paths_in(folder, asked.path), overwrite)
    told = predict(opened, asked)
    return told, told.write(folder, overwrite)


def predict(run: Run, asked: Asked) -> Told:
    """Return what the best networks of a source say together. Raises UserError for what they cannot take."""
    source = asked.source or run.pipeline.plan.method
    examples = examples_at(run, asked.path, asked.raw, asked.key)
    outputs = run.pipeline.data.outputs
    if not asked.top and len(examples.names) * outputs > CELLS:
        raise UserError(
            f"{asked.path}: {len(examples.names)} examples of {outputs} numbers each are more than {CELLS} cells; ask "
            "for the likeliest classes alone, as --top 5, or for fewer examples at a time"
        )
    count, answers = _members(run, source, asked.members)
    known = temperatures(run.scores, source)
    divided = known.get(count) if asked.calibrated and not run.drawn_with else None
    wide = sum(leaf[0].numel() for leaf in leaves(run.pipeline.data.example()))
    parts = []
    with run.pipeline.progress.step("predict", len(examples.names)) as step:
        for inputs in examples.batches(max(1, min(MOST, NUMBERS // max(1, wide)))):
            parts.append({key: value.cpu() for key, value in answers(inputs, divided or 1.0).items()})
            step.advance(len(leaves(inputs)[0]))
    values = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    if odd := next((name for name, sound in zip(examples.names, _sound(values), strict=True) if not sound), None):
        raise UserError(f"{asked.path}: {odd}: the networks give no number for it; look at its values")
    about = {
        "run": run.folder.name, "source": source, "members": count, "task": run.recipe.task.name,
        "temperature": divided, "path": str(asked.path), "read": examples.read,
    }  # fmt: skip
    said = [
        f"{len(examples.names)} examples, {examples.read}",
        f"{count} network{'s' * (count > 1)} of {source}" + (", which has no more" if count < asked.members else ""),
    ]
    if asked.calibrated and values.get("entropy", torch.empty(0, 0)).ndim == 1:
        said.append(_calibration(divided, next(iter(known), 0), count))
    return Told(examples.names, values, run.pipeline.data.names, about, said, asked.top)


def _sound(values: Mapping[str, Tensor]) -> list[bool]:
    first = next(iter(values.values()))
    return torch.isfinite(first.reshape(len(first), -1)).all(dim=1).tolist()


def _calibration(divided: float | None, known: int, count: int) -> str:
    """Return a line on what calibrates so many members; `known`: of how many a temperature is known, 0: of none."""
    if divided:
        return f"probabilities are calibrated by the temperature {divided:.4g} of the run's scores"
    return (
        f"probabilities are not calibrated: the run's scores hold no temperature of {count} "
        f"network{'s' * (count > 1)} of this source; "
        + (
            f"they hold that of {known}: --members {known}"
            if known
            else "pdiff evaluate RUN --with uncertainty finds it"
        )
    )


def _members(run: Run, source: str, count: int) -> tuple[int, Answers]:
    """Return how many members there are, and what answers: the networks, or a method whose members are none."""
    generator = answering(run.pipeline, source)
    if generator is None:
        ensemble = run.ensemble(count, source).to(run.pipeline.device)
        return len(ensemble.members), lambda inputs, temperature: ensemble.uncertainty(inputs, MOST, temperature)

    def answer(inputs: Inputs) -> Tensor:
        split = TensorSplit(inputs, torch.zeros(len(leaves(inputs)[0]), dtype=torch.int64))
        logp_MEK = generator.answers(split, count, run.bench, run.context("predict"))
        if logp_MEK is None:
            raise UserError(f"--source {source}: has no probabilities of classes to give")
        return logp_MEK

    first = answer(run.pipeline.data.example())
    return len(first), lambda inputs, temperature: uncertainty("classes", answer(inputs), temperature)

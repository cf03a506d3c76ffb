"""From Python: what a run's readers tell of networks whose answers nobody has asked for.

N checkpoints, M networks, D parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdiff.api import Run, open_run
from pdiff.checkpoints.names import natural
from pdiff.checkpoints.opening import ENDINGS
from pdiff.checkpoints.reading import Reader
from pdiff.components import WeightReader
from pdiff.errors import UserError, did_you_mean
from pdiff.results.scores import Unit, unit_of
from pdiff.view import ORIGINAL
from pdiff_plugins.reading.evaluator import PredictProperty
from pdiff_plugins.reading.judging import labelled
from pdiff_plugins.reading.values import SCORE, of_zoo


@dataclass(frozen=True)
class Told:
    """What weights tell of networks."""

    names: list[str]
    """Of the networks: their files, or their numbers among the source's."""
    value_M: Tensor
    """What was read of each, in float64."""
    reader: str
    property: str
    lower: bool
    """Whether the best value is the lowest."""
    unit: Unit
    """How the values are written."""
    said: list[str]
    """Lines for whoever asked: by what, and how near that was to networks that it had not seen."""

    def ranked(self) -> list[tuple[str, float]]:
        """Return names and values, the best first."""
        order = self.value_M.argsort(descending=not self.lower, stable=True).tolist()
        return [(self.names[number], float(self.value_M[number])) for number in order]


def predict_property(
    run: Run | str | PathLike[str], networks: Tensor | Sequence[str | PathLike[str]] | None = None, *,
    reader: str = "", property: str = "", source: str = "",
) -> Told:  # fmt: skip
    """Tell a property of networks from their weights alone; none of them is evaluated.

    The reader learns the whole zoo of the run: the property of its checkpoints, which is taken from the run's scores
    where the evaluator `predict_property` ran, and evaluated else.

    Args:
        run: a finished run, or what `pdiff.open_run` takes.
        networks: vectors theta_MD in the original scale, or checkpoint files and folders of such; None: the networks
            of `source` (default: the run's method).
        reader: its name; "": the best of the run's scores, else the first of the evaluator.
        property: `score`, a measure, or a setting of the zoo's runs; "": what the evaluator reads.

    Raises UserError for a reader, a property or a source that is not there, and for files that do not fit.
    """
    run = run if isinstance(run, Run) else open_run(run)
    options = next((e for e in run.recipe.evaluate if isinstance(e, PredictProperty)), PredictProperty())
    scores, property = run.scores.get(PredictProperty.name, {}), property or options.property
    names, theta_MD = _networks(run, networks, source)
    label, chosen = _reader(reader, options, scores)
    known = scores if scores.get("property") == property else {}
    if len(known.get("values", ())) == len(run.zoo):
        value_N = torch.tensor(known["values"], dtype=torch.float64)
    else:
        value_N = of_zoo(property, run.zoo, run.bench, "property")
    sound_N = value_N.isfinite()
    readout = chosen.fit(run.zoo.theta_ND[sound_N], value_N[sound_N], run.bench, run.context("read", label))
    lower = run.recipe.task.measures.get(property) == "lower"
    unit = unit_of(run.scores) if property == SCORE else Unit("")
    said = _said(label, property, known, run)
    drawn = run.scores.get("networks", {}).get(source or run.pipeline.plan.method, {}).get(PredictProperty.name, {})
    if networks is None and source != ORIGINAL and label == known.get("best") and (drawn.get("r2") or 0.0) < 0:
        said.append(
            f"of generated ones it is their order that counts (tau {drawn['tau'] or 0.0:.2f}), not what is read"
        )
    return Told(names, readout.read(theta_MD, run.bench), label, property, lower, unit, said)


def _reader(name: str, options: PredictProperty, scores: Mapping[str, Any]) -> tuple[str, WeightReader]:
    """Return the reader of a name, and what it is called. Raises UserError."""
    given = labelled(options.readers)
    defaults = labelled(PredictProperty().readers)
    known = defaults | given
    label = name or scores.get("best", "") or next(iter(given))
    if label not in known:
        raise UserError(f"reader = {label!r}: no such reader{did_you_mean(label, known)}; there: {', '.join(known)}")
    return label, known[label]


def _networks(run: Run, networks: Any, source: str) -> tuple[list[str], Tensor]:
    if networks is None:
        theta_MD = run.theta(source)
    elif isinstance(networks, Tensor):
        theta_MD = networks
    else:
        return _of_files(run, [Path(path) for path in networks])
    if theta_MD.dim() != 2 or theta_MD.shape[1] != run.zoo.layout.dim:
        raise UserError(
            f"networks: of shape {list(theta_MD.shape)}, and the run's are [M, {run.zoo.layout.dim}]; give such vectors"
        )
    return [str(number) for number in range(len(theta_MD))], theta_MD.float().cpu()


def _of_files(run: Run, paths: Sequence[Path]) -> tuple[list[str], Tensor]:
    if run.recipe.selector.extends:
        raise UserError(
            f"{paths[0]}: files of networks with something added ({run.recipe.selector.name}) are not read; leave "
            "files out, or give vectors theta_MD from Python"
        )
    layout, model = run.zoo.layout, run.bench.build(0)
    reader = Reader(model, "read", needed=layout.keys, convert=lambda state: run.bench.converted(state, model))
    files = [file for path in paths for file in _files(path)]
    rows = []
    for file in files:
        rows.append(layout.vector(reader.read(file)))
        if not rows[-1].isfinite().all():
            raise UserError(f"{file}: holds NaN or Inf; leave the file out")
    return [str(file) for file in files], torch.stack(rows)


def _files(path: Path) -> list[Path]:
    """Return a file, or those in a folder in natural order. Raises UserError where there are none."""
    if not path.is_dir():
        return [path]
    found = sorted((file for file in path.iterdir() if file.suffix in ENDINGS), key=lambda file: natural(file.name))
    if not found:
        raise UserError(f"{path}: holds no checkpoints ({', '.join(ENDINGS)})")
    return found


def _said(label: str, property: str, scores: Mapping[str, Any], run: Run) -> list[str]:
    judged = scores.get("readers", {}).get(label)
    what = f"{property.replace('_', ' ')} as {label} reads it; none of the networks was evaluated"
    if judged is None:
        return [what, f"how near that is, is not known: pdiff evaluate {run.folder.name} --with {PredictProperty.name}"]
    numbers = [f"{name} {judged[key]:.3f}" for name, key in (("R2", "r2"), ("tau", "tau")) if judged[key] is not None]
    near = ", ".join([*numbers, f"mean error {judged['error']:.3g}"])
    return [what, f"of {scores['judged']} checkpoints that it had not learnt: {near}"]

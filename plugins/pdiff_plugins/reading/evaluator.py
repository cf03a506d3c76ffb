"""The evaluator that reads weights: what they tell of a network's score, beside what is told without them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff.components import CONTENT, Evaluator, Figure, Finding, WeightReader
from pdiff.errors import did_you_mean
from pdiff.files import read_json
from pdiff.results.runs import SCORES
from pdiff.results.summary import SCORE
from pdiff_plugins.collectors.varied.collector import SETTINGS
from pdiff_plugins.reading.readers.equivariant import Equivariant
from pdiff_plugins.reading.readers.neuron_transformer import NeuronTransformer
from pdiff_plugins.reading.readers.probes import ProbeReader
from pdiff_plugins.reading.readers.statistics import Statistics
from pdiff_plugins.reading.scores import RunReading, SourceReading

if TYPE_CHECKING:
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.view import View


class PredictProperty(Evaluator):
    """What a network's weights tell of its score, learnt on a part of the zoo.

    Readers learn the checkpoints of most runs, and tell the property of those of the others, which are judged. Beside
    them stand controls that see no weights: the mean; how each run was trained, by boosted trees; and how sure networks
    are at 20 unlabelled inputs of the test split, by boosted trees. A reader is worth something where it is nearer than
    these, or where they cannot be had: weights alone are enough for it.

    Of each source the best reader tells the order in which to evaluate networks: how many are evaluated until the best
    is found, and what the first is worth. With `transfer` the zoo of another run is read, of which nothing was learnt.
    """

    name = "predict_property"
    source: ClassVar[str] = "Unterthiner et al. 2020, Predicting Neural Network Accuracy from Weights, arXiv 2002.11448"
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("R2", "r2", ".3f"), ("tau", "tau", ".3f"), ("first", "first", SCORE), ("tried", "tried", "d"),
    )  # fmt: skip
    first_columns: ClassVar[tuple[str, ...]] = ("R2", "tau", "tried")
    legend: ClassVar[str] = (
        "R2, tau: of what weights tell of networks and what they do, explained variance and Kendall's tau; first: what "
        "the first in the order read does; tried: so many are evaluated in that order until the best is found"
    )
    source_scores: ClassVar[type] = SourceReading
    run_scores: ClassVar[type] = RunReading
    readers: tuple[WeightReader, ...] = Field(
        (Statistics(), NeuronTransformer(), Equivariant(), ProbeReader()),
        min_length=1,
        description="what reads weights",
    )
    property: str = Field(
        "score", description="what is read: score, a measure of the task, or a name in the settings of the zoo's runs"
    )
    judge: float = Field(0.25, gt=0, lt=1, description="share of the zoo that is judged, in whole runs")
    transfer: str = Field(
        "", json_schema_extra=CONTENT, description="folder of another finished run, whose zoo is read, too"
    )

    def content_of(self, option: str) -> str:
        """Return what decides the zoo of the run that `transfer` names, a digest; itself where it names none."""
        file = Path(self.transfer) / SCORES
        scores = read_json(file) if self.transfer and file.is_file() else None
        if not isinstance(scores, dict) or not {"stages", "recipe"} <= set(scores):
            return self.transfer
        recipe = {key: value for key, value in scores["recipe"].items() if key not in ("run", "report", "evaluate")}
        return hashlib.sha256(json.dumps([scores["stages"], recipe], sort_keys=True).encode()).hexdigest()

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        recipe, known = ahead.recipe, ["score", *ahead.recipe.task.measures, *SETTINGS]
        if recipe.collect.name == "varied" and self.property not in known:
            near = did_you_mean(self.property, known)
            ahead.lacks(f"{ahead.key}.property = {self.property!r}: is none of {', '.join(known)}{near}")
        if self.transfer and self.content_of("transfer") == self.transfer:
            ahead.lacks(f"{ahead.key}.transfer = {self.transfer!r}: no finished run there; name a run's folder")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        from pdiff_plugins.reading.judging import Judge

        return Judge(self, view, ctx).scores()

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.drawing.style import figures
        from pdiff_plugins.reading.figures import read_and_true

        return figures(view, ("weights_read", "What weights tell", read_and_true), order=40)

    def findings(self, scores: Mapping[str, Any]) -> Iterator[Finding]:
        from pdiff_plugins.reading.findings import findings

        return findings(scores)

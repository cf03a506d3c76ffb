"""Evaluators: how good the networks are, and how new."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NotRequired, TypedDict

from pdiff.components import Evaluator, Figure, Finding
from pdiff.results.scores import TaskScore, Unit
from pdiff.results.summary import SCORE, spread
from pdiff_plugins.evaluators.findings import of_score
from pdiff_plugins.evaluators.telling import nothing

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View


class AccuracyScores(TypedDict):
    """What `accuracy` gives for the run."""

    unit: Annotated[str, "of the scores: % for shares of 1, else that of plain numbers"]
    nothing: Annotated[list[str], "why the scores can tell nothing about a generator; empty where they can"]
    constant: NotRequired[Annotated[str, "the source whose every generated tensor is replaced by its mean"]]


class Accuracy(Evaluator):
    """Score of every network on the test split.

    `best` is the test score of the network that is best on the selection split: under `protocol = "paper"` that is
    the test split itself, so `best` is the maximum. The others are over all networks of the source.
    """

    name = "accuracy"
    version = 3
    first_columns: ClassVar[tuple[str, ...]] = ("best", "mean")
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("best", "best", SCORE), ("mean", "mean", SCORE), ("std", "std", SCORE), ("min", "min", SCORE),
    )  # fmt: skip
    source_scores: ClassVar[type] = TaskScore
    run_scores: ClassVar[type] = AccuracyScores
    gives_score: ClassVar[bool] = True

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        constant = next((source for source, method in view.methods.items() if method.name == "constant"), None)
        networks = {source: self._source(view, source) for source in view.theta}
        values = (value for scores in networks.values() for value in scores["values"])
        run: AccuracyScores = {
            "unit": Unit.of(values, view.recipe.task.unit).name,
            "nothing": nothing(view, networks, constant),
        }
        return {"networks": networks, **run} | ({"constant": constant} if constant else {})

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.drawing.style import figures
        from pdiff_plugins.evaluators.figures import score_distributions

        return figures(view, ("score", "Scores of the networks", score_distributions))

    def findings(self, scores: Mapping[str, Any]) -> Iterable[Finding]:
        return of_score(scores)

    def _source(self, view: View, source: str) -> TaskScore:
        score = view.recipe.task.score
        test = score(view.predictions(source, "test"), view.targets("test"))
        chosen = test
        if view.selection != "test":
            chosen = score(view.predictions(source, view.selection), view.targets(view.selection))
        best = int(chosen.argmax())
        values = test.tolist()
        return {
            "best": values[best], "best_index": best, **spread(values), "values": values,
            "selection_values": chosen.tolist(),
        }  # fmt: skip

"""The evaluator of conditions: ask for a task, see what its network does."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, NonNegativeInt, PositiveFloat

from pdiff.components import Evaluator, Figure, Finding, Page
from pdiff.results.summary import SCORE
from pdiff_plugins.conditions.evaluation.scores import ConditionScores, SourceConditions

if TYPE_CHECKING:
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.conditions.evaluation.asking import Asker
    from pdiff_plugins.conditions.evaluation.rivals import Beside


class OfTasks(Evaluator):
    """An evaluator that asks for tasks; what else stands beside the sources, each of them says."""

    of_families: ClassVar[bool] = True
    compares: ClassVar[bool] = True
    first_columns: ClassVar[tuple[str, ...]] = ("held out", "worst", "hard", "shuffled", "random text", "learnt")
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("learnt", "learnt", SCORE), ("held out", "held_out", SCORE), ("worst", "worst", SCORE),
        ("hard", "hard", SCORE), ("shuffled", "shuffled", SCORE), ("random text", "random_text", SCORE),
        ("gate", "gate", SCORE),
    )  # fmt: skip
    legend: ClassVar[str] = (
        "learnt, held out, hard: mean score on tasks that were learnt, on unseen ones, and on unseen ones that are "
        "hard by design; worst: on the worst task held out; shuffled: of networks that were asked for another task; "
        "random text: of those that were asked in random words; gate: of the tasks' own networks once the method's "
        "codec has had them; original: the tasks' own networks"
    )
    source_scores: ClassVar[type] = SourceConditions
    run_scores: ClassVar[type] = ConditionScores
    tasks: int = Field(
        100, gt=0, description="learnt tasks that are asked for, drawn; those kept back are all asked for"
    )
    examples: int = Field(0, ge=0, description="test examples that networks are asked about, drawn; 0: all")
    samples: int = Field(
        8, gt=0, description="networks of one condition, of sources whose samples differ; 1: none more"
    )
    adapt: tuple[NonNegativeInt, ...] = Field(
        (0, 1, 10, 100), description="steps of training on the task after which networks are scored; empty: none"
    )
    adapted: int = Field(32, gt=0, description="tasks that generated networks are trained on")
    adapt_lr: tuple[PositiveFloat, ...] = Field(
        (1e-3, 1e-2, 3e-2),
        min_length=1,
        description="learning rates of that training; the best on the selection split counts",
    )
    rival_steps: int = Field(3000, ge=0, description="steps of the network of all classes; 0: leave it out")
    rival_lr: float = Field(3e-3, gt=0, description="learning rate of the network of all classes")

    def further(self, asker: Asker, examples: int) -> dict[str, Beside]:
        """Return further rows beside the sources, by name, given how many examples the method has learnt from."""
        return {}

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        if getattr(ahead.recipe, "encoder", None) is None:
            ahead.lacks(
                f"{ahead.key}: conditions need an [encoder], such as name = 'bits'; write it, or leave this out"
            )
        if ahead.recipe.sample.step:
            ahead.note(f"{ahead.key}: networks are asked for as they come, without [[sample.step]]")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        """See `Evaluator.evaluate`. Raises UserError where the zoo has no conditions."""
        from pdiff_plugins.conditions.evaluation.scoring import scores_of

        return scores_of(self, view, ctx)

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.conditions.evaluation.figures import adapted, by_distance, by_task
        from pdiff_plugins.drawing.style import figures

        return figures(
            self._view(view),
            (self.name, "Scores on unseen tasks", by_task),
            (f"{self.name}_distance", "Score by distance from the nearest learnt task", by_distance),
            (f"{self.name}_adapted", "Trained on from generated networks", adapted),
            order=10,
        )

    def findings(self, scores: Mapping[str, Any]) -> Iterator[Finding]:
        from pdiff_plugins.conditions.evaluation.findings import findings

        return findings(given_as(scores, self.name))

    def page(self, view: View, figures: Sequence[Figure]) -> Page:
        from pdiff_plugins.conditions.evaluation.page import conditions_page

        return conditions_page(self._view(view), figures, self.name)

    def _view(self, view: View) -> View:
        """Return the view with what this evaluator gave where what shows it looks for it."""
        seen = copy.copy(view)
        seen.scores = given_as(view.scores, self.name)
        return seen


class Conditions(OfTasks):
    """Whether networks do what they are asked for, beside every plain way.

    Every source is asked for tasks that were learnt, that were held out, and that are hard by design; a source that
    takes no conditions has one network for all of them, the best on the selection split. Beside them stand the tasks'
    own networks (`original`), the larger class, the mean of all networks, what the family of tasks knows of rivals, and
    one network of all classes whose answers are read as the task's. Sources are also asked for other tasks than they
    are judged on, in random words where they are asked by text, and for several networks of one task; held-out tasks'
    own networks go through their codecs, and into the span of all learnt networks, which no method within it can leave.

    The verdict is about held-out tasks on the test split, tasks (with their networks) and examples being crossed random
    effects: better than a control, worse, or not told apart (Holm's correction over all). Nothing is selected by it.
    """

    name = "conditions"
    version = 3

    def findings(self, scores: Mapping[str, Any]) -> Iterator[Finding]:
        """See `Evaluator.findings`; an evaluator of tasks that sets more beside sums the run up in its place."""
        others = (given for given in scores.values() if isinstance(given, Mapping) and "common" in given)
        more = next(others, None) is not None
        return (replace(each, headline=each.headline and not more) for each in super().findings(scores))


def given_as(scores: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return scores in which what an evaluator of tasks gave stands under `conditions`, where what shows it looks."""
    networks = {
        source: {key: value for key, value in given.items() if key != "conditions"}
        | ({"conditions": given[name]} if name in given else {})
        for source, given in scores["networks"].items()
    }
    return {**scores, "networks": networks, "conditions": scores[name]}

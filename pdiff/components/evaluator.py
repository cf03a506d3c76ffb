"""How good and how new networks are, and what is shown of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.components.base import Component
from pdiff.components.family import Family
from pdiff.results.shown import Figure, Finding, Page

if TYPE_CHECKING:
    from pdiff.components.ahead import Ahead
    from pdiff.context import Context
    from pdiff.view import View


class Evaluator(Component):
    """Turns the populations of a run into scores, and shows them.

    Only `evaluate` must be there. What shows scores is asked by reports, not by a stage: it changes without a new
    `version`. It reads scores as they come from JSON; where it raises, a report names it and goes on.
    """

    kind: ClassVar[str] = "evaluator"
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = ()
    """What the summary table shows per source: (title, key in the source's scores, format spec, `score` for scores)."""
    first_columns: ClassVar[tuple[str, ...]] = ()
    """Titles of those columns that a terminal shows, where there is no room for all."""
    legend: ClassVar[str] = ""
    """What the titles mean, in one line below the table."""
    source_scores: ClassVar[type | None] = None
    """TypedDict of what it gives for a source, each key `Annotated` with what it is; None: nothing."""
    run_scores: ClassVar[type | None] = None
    """TypedDict of what it gives for the run as a whole; None: nothing."""
    gives_score: ClassVar[bool] = False
    """Whether it gives the task's score: what it gives for a source is then a `pdiff.results.scores.TaskScore`."""
    compares: ClassVar[bool] = False
    """Whether sources are compared by what it gives, where no evaluator gives the task's score.

    Of a source that is then a `pdiff.results.scores.Spread`. Of the run it can give `beside`, the same of what is no
    source, by name, which stands below them in the table; `gains`, by source and name the `mean`, `error` and
    `freedom` of what the method scores more; and so that runs with other seeds can be compared, `groups`, by source and
    name scores on groups of examples whose mean is the mean, and `examples`, a text that tells which these are.

    Any evaluator can give the last three, and `measure`, what they are of, higher being better: then runs with other
    seeds are compared by that, too.
    """

    of_families: ClassVar[bool] = False
    """Whether it can be asked about networks of which each has a task of its own (`pdiff.components.Family`)."""

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        if isinstance(ahead.recipe.task, Family) and not self.of_families:
            ahead.lacks(
                f"{ahead.key}: {self.name} asks all networks one thing, and of task {ahead.recipe.task.name} each has "
                "its own; use the evaluator 'conditions'"
            )

    @abstractmethod
    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        """Return JSON: `networks` maps each source to its scores; everything else is about the run as a whole."""

    def figures(self, view: View) -> Iterable[Figure]:
        """Draw the figures for which the run has numbers, from `view.scores`."""
        return ()

    def findings(self, scores: Mapping[str, Any]) -> Iterable[Finding]:
        """Say what the scores say: `pdiff.results.scores.RunScores`, those of all evaluators among them."""
        return ()

    def page(self, view: View, figures: Sequence[Figure]) -> Page | None:
        """Return a page of its own for HTML reports; `figures` are all of the report's."""
        return None

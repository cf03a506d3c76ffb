"""The evaluator of ensembles: likelihood, calibration, and what else the same cost could have bought."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff.components import Evaluator, Figure, Finding, Page
from pdiff.errors import did_you_mean
from pdiff_plugins.uncertainty.foreign.entries import Entry, Kind, foreseen
from pdiff_plugins.uncertainty.scores import SourceUncertainty, UncertaintyScores

if TYPE_CHECKING:
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.view import View


class Uncertainty(Evaluator):
    """What sixteen networks of a source are worth together, at equal cost.

    The row of a source is its ensembles of 16 (`members`), by the mean of their probabilities: as many as it has
    networks for without using one twice, numbers being means over them; where it has fewer networks it is all of them.
    Methods whose members are no networks, as a linearised network's, answer themselves.

    Likelihoods are compared after one temperature for each ensemble, fitted on the selection split; with protocol
    `paper`, which selects on the test split, on the other half of it, at random. An ensemble that is right in all of
    those examples keeps 1. `DEE` is the deep-ensemble equivalent: how many networks of the baseline `deep_ensemble`
    have together the same calibrated log-likelihood, by linear interpolation between sizes. Its interval holds the
    sizes whose difference may be chance.

    `cost` is in trainings of one network: what the method reads, and what it begins from. Beside each row stands the
    cheapest lone network, of the baseline `lone` or one of the deep ensemble's, that was trained for no less. The
    verdict sets the method beside every other row, networks and examples being crossed random effects, with Holm's
    correction. `reference`, where the run has it, is what the answers of a posterior would be.
    """

    name = "uncertainty"
    version = 2
    source: ClassVar[str] = (
        "Ashukha et al. 2020, Pitfalls of In-Domain Uncertainty Estimation and Ensembling in Deep Learning, "
        "arXiv 2002.06470; agreement: Izmailov et al. 2021, arXiv 2104.14421"
    )
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("cal. NLL", "calibrated_nll", ".4f"), ("DEE", "equivalent_text", "s"), ("cost", "cost", ".2f"),
        ("cal. ECE", "calibrated_ece", ".3f"), ("AUROC", "auroc", ".3f"), ("corr. NLL", "corrupted_nll", ".3f"),
        ("agrees", "agreement", ".1%"),
    )  # fmt: skip
    first_columns: ClassVar[tuple[str, ...]] = ("cal. NLL", "DEE", "cost", "cal. ECE", "AUROC")
    legend: ClassVar[str] = (
        "cal. NLL, cal. ECE: negative log-likelihood and calibration error of ensembles of 16 after one temperature; "
        "DEE: so many networks trained one by one have together the same cal. NLL; cost: trainings of one network; "
        "AUROC: foreign examples told from the test split's by entropy; corr. NLL: cal. NLL under corruptions; "
        "agrees: share of test examples with the reference's class"
    )
    source_scores: ClassVar[type] = SourceUncertainty
    run_scores: ClassVar[type] = UncertaintyScores
    members: int = Field(16, gt=0, description="networks of an ensemble")
    ensembles: int = Field(8, gt=0, description="ensembles of a source, at most")
    examples: int = Field(0, ge=0, description="examples of each split, drawn at random; 0: all")
    ensemble: str = Field("deep_ensemble", description="source whose networks are trained one by one, for DEE")
    lone: str = Field("lone", description="method whose networks stand alone")
    reference: str = Field("hmc", description="source whose answers are the reference")
    foreign: tuple[Entry, ...] = Field(
        (), description="foreign examples: changes of the test split, such as 'rotated', names or tables of datasets"
    )
    corruptions: tuple[Kind, ...] = Field((), description="of the test split, each in five strengths")

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        recipe = ahead.recipe
        if not recipe.task.has_classes:
            ahead.lacks(
                f"{ahead.key}: uncertainty is of classes' probabilities, and task {recipe.task.name} has none; take "
                "the evaluator away"
            )
        names = {baseline.name for baseline in recipe.baseline}
        if self in recipe.evaluate and recipe.train.epochs and not names & {self.ensemble, self.lone}:
            ahead.lacks(
                f"{ahead.key}: uncertainty says what a lone network does at the same cost, and the recipe trains none; "
                "add a [[baseline]] with name = 'deep_ensemble', or with name = 'lone' and trainings = [1, 2]"
            )
        labels = [label for method in (recipe.method, *recipe.baseline) for label in method.variants()]
        for option in ("ensemble", "reference"):
            asked = getattr(self, option)
            if asked not in (type(self).model_fields[option].default, *labels):
                ahead.lacks(f"{ahead.key}.{option} = {asked!r}: no such row{did_you_mean(asked, labels)}")
        foreseen(self.foreign, ahead, self.corruptions)

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        from pdiff_plugins.uncertainty.table import Table

        return Table(self, view, ctx).scores()

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.drawing.style import figures
        from pdiff_plugins.uncertainty import figures as drawn

        if "gains" not in view.scores[self.name]:
            return ()
        return figures(
            view, ("equivalent", "Worth and cost", drawn.equivalent),
            ("reliability", "Reliability", drawn.reliability), ("risk", "Risk against coverage", drawn.risk),
            ("corruptions", "Under corruption", drawn.corruptions), order=30,
        )  # fmt: skip

    def findings(self, scores: Mapping[str, Any]) -> Iterator[Finding]:
        from pdiff_plugins.uncertainty.findings import findings

        return findings(scores)

    def page(self, view: View, figures: Sequence[Figure]) -> Page | None:
        from pdiff_plugins.uncertainty.page import uncertainty_page

        return uncertainty_page(view, figures) if "gains" in view.scores[self.name] else None

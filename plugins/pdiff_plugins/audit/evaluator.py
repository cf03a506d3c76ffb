"""The audit: is it better than plain statistics, is it new, or only averaged?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from pdiff.components import Evaluator, Figure, Finding, Page
from pdiff.results.scores import Unit
from pdiff.results.summary import SCORE
from pdiff.view import ORIGINAL
from pdiff_plugins.audit.scores import AuditScores, SourceAudit

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.audit.noise import Behaviour
    from pdiff_plugins.audit.novelty import Distances


NO_MORE = (
    "plain noise as long as the checkpoints' own spread is no worse than they are, and they differ from one another no "
    "more than it does: "
)
SHOWN = (1, 3)
"""Multiples that the table shows."""


class Audit(Evaluator):
    """Likelihood, calibration, ensembles and novelty of every source, and a verdict.

    `N&P` is the share of networks that are novel and performant: at least as good on the test split as the originals'
    median, and further from every checkpoint than so many times the median distance between a checkpoint and its
    nearest other. Distances are those after symmetries where the network's graph shows any: hidden units are scaled and
    put in order first, so that no novelty is bought by either; of adapters they are of their products, what they add to
    layers. NLL and ECE are means over networks; `ens` is an ensemble of 16, by the mean of their probabilities. Also,
    on the report's page: the score on the selection split; the share of test examples on which a network differs from
    its nearest checkpoint; precision and recall against checkpoints held out (the step `holdout`).

    `outside` is the share of a network's deviation from the checkpoints' mean that lies outside what they span (of a
    checkpoint: the others), which no mixture of them gives: its length over that of the deviation, all parameters of
    one weight, variances as logarithms. `outside gain` is what that part does to the score on the test split, of at
    most 32 networks: their mean as they are, less that of the same networks without it. Nothing is said where the share
    is what rounding leaves, or of fewer than three checkpoints.

    The verdict compares the method with every baseline on the test split, networks and examples being crossed random
    effects: better only where it is better than each of them, worse where it is worse than any (Holm's correction).
    Plain noise is the control of the zoo: where noise as long as the checkpoints' spread behaves as they do, the run
    can tell nothing.
    """

    name = "audit"
    version = 9
    source: ClassVar[str] = (
        "Generative Modeling of Weights: Generalization or Memorization?, arXiv 2506.07998; "
        "N&P: Canonicalize, Then Generate (2026, not reviewed)"
    )
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("NLL", "nll", ".4f"), ("ECE", "ece", ".3f"), ("ens NLL", "ensemble_nll", ".3f"),
        ("ens", "ensemble_score", ".1%"), ("N&P 1x", "np_1", ".0%"), ("N&P 3x", "np_3", ".0%"),
        ("outside", "outside", ".0%"), ("outside gain", "outside_gain", SCORE),
    )  # fmt: skip
    legend: ClassVar[str] = (
        "NLL, ECE: negative log-likelihood and calibration error, mean over networks; ens: ensembles of 16; "
        "N&P: share of networks at least as good as the originals' median, and further from every checkpoint than 1 or "
        "3 times the checkpoints' own distance, after symmetries; "
        "outside: share of a network's deviation from the checkpoints' mean that lies outside what they span; "
        "outside gain: score with that part, less that without it"
    )
    source_scores: ClassVar[type] = SourceAudit
    run_scores: ClassVar[type] = AuditScores
    examples: int = Field(2000, ge=0, description="test examples for likelihood and ensembles; 0: all")
    multiples: tuple[PositiveFloat, ...] = Field(
        (1.0, 2.0, 3.0, 4.0, 6.0), min_length=1, description="of the checkpoints' own distance, for N&P"
    )
    members: tuple[PositiveInt, ...] = Field((4, 16, 64), min_length=1, description="sizes of ensembles")
    draws: int = Field(
        4096, gt=1, description="ensembles of each size that are drawn at most; fewer where the printed digits stand"
    )
    aligned: int = Field(
        32,
        ge=0,
        description="networks of each source whose distance is taken after symmetries, and that N&P is then of, which "
        "takes its time for all checkpoints too; 0: none, and N&P by distances as they are",
    )

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        from pdiff_plugins.audit.noise import of_noise, passing
        from pdiff_plugins.audit.novelty import distances
        from pdiff_plugins.audit.outside import outside
        from pdiff_plugins.audit.verdict import verdict
        from pdiff_plugins.maths.median import median

        scores = _scores(view)
        bar, far = median(scores["test"][ORIGINAL]), distances(view, self.aligned)
        noise = of_noise(view, self.examples, ctx)
        beyond, held = outside(view, ctx)
        networks, behaviours = {}, {}
        for source in view.theta:
            networks[source], behaviours[source] = self._source(view, source, scores, far, bar, ctx)
            networks[source] |= beyond.get(source, {})
        ours, theirs = behaviours[view.method], behaviours[ORIGINAL]
        matters = ours.beyond(noise) if ours else None
        unit = Unit.of(scores["test"][ORIGINAL].tolist(), view.recipe.task.unit)
        passed = passing(view, far, bar, self.multiples, ctx)
        return {
            "networks": networks, "bar": bar, "multiples": list(self.multiples), "quotient": far.quotient,
            "nothing": [NO_MORE + theirs.beside(noise)] if theirs and theirs.beyond(noise) is False else [],
            **({"products": True} if far.products else {}),
            **({} if held is None else {"outside_holdout": held}),
            **({} if far.unit != far.unit else {"np_noise": passed}),
            "noise": noise.told(), **({} if matters is None else {"matters": matters}), "unit": unit.name,
            **verdict(view, far.ratios[view.method], unit),
        }  # fmt: skip

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.audit.figures import novel_and_performant
        from pdiff_plugins.drawing.style import figures

        return figures(view, ("novel_and_performant", "Novel and performant", novel_and_performant), order=30)

    def findings(self, scores: Mapping[str, Any]) -> Iterator[Finding]:
        from pdiff_plugins.audit.findings import findings

        return findings(scores)

    def page(self, view: View, figures: Sequence[Figure]) -> Page:
        from pdiff_plugins.audit.page import audit_page

        return audit_page(view, figures)

    def _source(
        self, view: View, source: str, scores: dict[str, dict[str, Tensor]], far: Distances, bar: float, ctx: Context
    ) -> tuple[dict[str, Any], Behaviour | None]:
        """Return what is said of a source, and how its networks differ from one another."""
        from pdiff_plugins.audit.noise import behaviour, density
        from pdiff_plugins.audit.novelty import disagreement, manifold
        from pdiff_plugins.audit.probabilities import as_classes

        predicted = view.bench.log_probabilities(view.theta[source], "test", self.examples)
        density_ME = density(view, *(view.predictions(source, split) for split in ("test", view.selection)))
        behaves = behaviour(view, source, predicted if density_ME is None else as_classes(density_ME))
        told = (
            self._novel(scores["test"][source], far, source, bar)
            | (self._likely(*predicted, ctx) if predicted else {})
            | (self._dense(density_ME, ctx) if density_ME is not None else {})
            | manifold(view, source)
            | {
                "selection": float(scores[view.selection][source].mean()),
                "differs": disagreement(view, source, far.near[source]),
            }
            | ({} if behaves is None else {"spread": behaves.told()})
        )
        return told, behaves

    def _novel(self, score_M: Tensor, far: Distances, source: str, bar: float) -> dict[str, Any]:
        """Return the N&P curve, its values under the columns' keys, and the medians of the distances."""
        from pdiff_plugins.maths.median import median

        ratio_M = far.ratios[source]
        if ratio_M.isnan().any():
            return {}
        good_M = score_M[: len(ratio_M)] >= bar
        curve = [float((good_M & (ratio_M > k)).double().mean()) for k in self.multiples]
        named = {f"np_{k:g}": share for k, share in zip(self.multiples, curve, strict=True) if k in SHOWN}
        after = {"aligned": median(ratio_M)} if far.quotient else {}
        return named | after | {"np": curve, "novelty": median(far.raw[source])}

    def _dense(self, logp_ME: Tensor, ctx: Context) -> dict[str, Any]:
        """Return likelihoods of quantities, of networks and of ensembles: the mean of their densities."""
        from pdiff_plugins.audit.probabilities import as_classes, ensembles

        most_E = logp_ME.amax(dim=0)  # a density can be of any size, and float32 holds few
        shown = {"nll": -float(logp_ME.mean())}
        if len(logp_ME) < 16 or 16 not in self.members:
            return shown
        drawn = ensembles(*as_classes(logp_ME - most_E), 16, self.draws, ctx.generator("ensembles", 16))
        return shown | {"ensemble_nll": drawn.nll - float(most_E.mean())}

    def _likely(self, logp_MEK: Tensor, targets_E: Tensor, ctx: Context) -> dict[str, Any]:
        from pdiff_plugins.audit.probabilities import calibration_error, ensembles, likelihood

        together = {
            size: ensembles(logp_MEK, targets_E, size, self.draws, ctx.generator("ensembles", size))
            for size in self.members
            if size <= len(logp_MEK)
        }
        shown = {"ensemble_score": together[16].score, "ensemble_nll": together[16].nll} if 16 in together else {}
        return shown | {
            "nll": float(likelihood(logp_MEK, targets_E).mean()),
            "ece": float(calibration_error(logp_MEK, targets_E).mean()),
            "ensembles": {str(size): drawn._asdict() for size, drawn in together.items()},
        }


def _scores(view: View) -> dict[str, dict[str, Tensor]]:
    """Return scores `[M]` by split and source."""
    task = view.recipe.task
    return {
        split: {source: task.score(view.predictions(source, split), view.targets(split)) for source in view.theta}
        for split in dict.fromkeys((view.selection, "test"))
    }

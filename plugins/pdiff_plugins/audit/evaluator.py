"""The audit: is it better than plain statistics, is it new, or only averaged?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from pdiff.components import Evaluator, Figure, Finding, Page
from pdiff.view import ORIGINAL
from pdiff_plugins.audit.scores import AuditScores, SourceAudit

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.view import View


SHOWN = (1, 3)
"""Multiples that the table shows."""


class Audit(Evaluator):
    """Likelihood, calibration, ensembles and novelty of every source, and a verdict.

    `N&P` is the share of networks that are novel and performant: at least as good on the test split as the originals'
    median, and further from every checkpoint than so many times the median distance between a checkpoint and its
    nearest other. NLL and ECE are means over networks; `ens` is an ensemble of 16, by the mean of their probabilities.
    Also, on the report's page: the score on the selection split; distances after alignment of hidden units; the share
    of test examples on which a network differs from its nearest checkpoint; precision and recall against checkpoints
    held out (the step `holdout`). The verdict compares the method with the best plain baseline, chosen on the selection
    split.
    """

    name = "audit"
    version = 4
    source: ClassVar[str] = (
        "Generative Modeling of Weights: Generalization or Memorization?, arXiv 2506.07998; "
        "N&P: Canonicalize, Then Generate (2026, not reviewed)"
    )
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("NLL", "nll", ".4f"), ("ECE", "ece", ".3f"), ("ens NLL", "ensemble_nll", ".4f"),
        ("ens", "ensemble_score", ".2%"), ("N&P 1x", "np_1", ".0%"), ("N&P 3x", "np_3", ".0%"),
    )  # fmt: skip
    legend: ClassVar[str] = (
        "NLL, ECE: negative log-likelihood and calibration error, mean over networks; ens: ensembles of 16; "
        "N&P: share of networks at least as good as the originals' median, and further from every checkpoint than 1 or "
        "3 times the checkpoints' own distance"
    )
    source_scores: ClassVar[type] = SourceAudit
    run_scores: ClassVar[type] = AuditScores
    examples: int = Field(2000, ge=0, description="test examples for likelihood and ensembles; 0: all")
    multiples: tuple[PositiveFloat, ...] = Field(
        (1, 2, 3, 4, 6), min_length=1, description="of the checkpoints' own distance, for N&P"
    )
    members: tuple[PositiveInt, ...] = Field((4, 16, 64), min_length=1, description="sizes of ensembles")
    draws: int = Field(5, gt=0, description="ensembles of each size that are averaged")
    aligned: int = Field(
        32,
        ge=0,
        description="networks of each source whose distance is also taken after alignment of hidden units, "
        "which takes its time for all checkpoints too; 0: none",
    )
    resamples: int = Field(1000, gt=1, description="bootstrap draws of the test examples")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        from pdiff_plugins.audit.novelty import aligned_novelty, disagreement, manifold, novelty
        from pdiff_plugins.audit.verdict import verdict

        scores, ratios, aligned = _scores(view), novelty(view), aligned_novelty(view, self.aligned)
        bar = float(scores["test"][ORIGINAL].median())
        networks = {
            source: self._novel(scores["test"][source], ratios[source], bar)
            | self._likely(view, source, ctx)
            | manifold(view, source)
            | {"selection": float(scores[view.selection][source].mean()), "differs": disagreement(view, source)}
            | ({"aligned": aligned[source]} if source in aligned else {})
            for source in view.theta
        }
        judged = verdict(view, scores, ratios, self.resamples, ctx.generator("bootstrap"))
        return {"networks": networks, "bar": bar, "multiples": list(self.multiples)} | judged

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.audit.figures import novel_and_performant
        from pdiff_plugins.drawing.style import figures

        return figures(view, ("novel_and_performant", "Novel and performant", novel_and_performant), order=30)

    def findings(self, scores: Mapping[str, Any]) -> Iterator[Finding]:
        yield Finding(f"audit: {'; '.join(scores['audit']['verdict'])}", note=True)

    def page(self, view: View, figures: Sequence[Figure]) -> Page:
        from pdiff_plugins.audit.page import audit_page

        return audit_page(view, figures)

    def _novel(self, score_M: Tensor, ratio_M: Tensor, bar: float) -> dict[str, Any]:
        """Return the N&P curve, and its values under the columns' keys."""
        curve = [float(((score_M >= bar) & (ratio_M > k)).double().mean()) for k in self.multiples]
        if ratio_M.isnan().any():
            return {}
        named = {f"np_{k:g}": share for k, share in zip(self.multiples, curve, strict=True) if k in SHOWN}
        return named | {"np": curve, "novelty": float(ratio_M.median())}

    def _likely(self, view: View, source: str, ctx: Context) -> dict[str, Any]:
        from pdiff_plugins.audit.probabilities import calibration_error, ensembles, likelihood

        predicted = view.bench.log_probabilities(view.theta[source], "test", self.examples)
        if predicted is None:
            return {}
        logp_MEK, targets_E = predicted
        sizes = [size for size in self.members if size <= len(logp_MEK)]
        both = {
            size: ensembles(*predicted, size, self.draws, ctx.generator("ensembles", size)).tolist() for size in sizes
        }
        together = {"ensemble_score": both[16][0], "ensemble_nll": both[16][1]} if 16 in both else {}
        return together | {
            "nll": float(likelihood(logp_MEK, targets_E).mean()),
            "ece": float(calibration_error(logp_MEK, targets_E).mean()),
            "ensembles": {str(size): {"score": score, "nll": nll} for size, (score, nll) in both.items()},
        }


def _scores(view: View) -> dict[str, dict[str, Tensor]]:
    """Return scores `[M]` by split and source."""
    task = view.recipe.task
    return {
        split: {source: task.score(view.predictions(source, split), view.targets(split)) for source in view.theta}
        for split in dict.fromkeys((view.selection, "test"))
    }

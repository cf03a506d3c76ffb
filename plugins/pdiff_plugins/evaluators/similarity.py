"""Whether networks err on the same examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict

from pdiff.components import Evaluator, Figure, Finding
from pdiff.view import ORIGINAL
from pdiff_plugins.evaluators.findings import of_overlap
from pdiff_plugins.maths.overlap import iou

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.view import View


class SourceOverlap(TypedDict):
    """Overlaps of wrong answers of a source; None where there is nothing to compare."""

    within: Annotated[float | None, "mean over pairs of the source's networks"]
    to_original: Annotated[float | None, "mean over pairs of a network and an original (of two originals: `within`)"]
    max: Annotated[float, "mean over networks of the largest overlap with any original, oneself left out"]
    max_values: Annotated[list[float], "each network's largest overlap with any original"]
    mean_values: Annotated[list[float], "each network's mean overlap with all originals"]
    within_values: Annotated[list[float], "each network's mean overlap with the others of its source"]


class RunOverlap(TypedDict):
    """The paper's five overlaps: o of originals, g of the method's networks."""

    oo: Annotated[float | None, "originals among themselves"]
    gg: Annotated[float | None, "generated networks among themselves"]
    og: Annotated[float | None, "generated networks and originals"]
    og_max: Annotated[float, "a generated network and its most similar original"]
    oo_max: Annotated[float, "an original and its most similar other"]


class Similarity(Evaluator):
    """Overlap of wrong answers: intersection over union (the paper's eq. 7).

    o-o: originals among themselves, each against the others; g-g: the method's; o-g: across; max: the largest overlap
    of each network with any original (for originals, with any other). Two networks without errors overlap fully.
    """

    name = "similarity"
    source: ClassVar[str] = "Neural Network Diffusion, arXiv 2402.13144, eq. 7"
    first_columns: ClassVar[tuple[str, ...]] = ("IoU in",)
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("IoU in", "within", ".3f"), ("IoU to", "to_original", ".3f"), ("IoU max", "max", ".3f"),
    )  # fmt: skip
    legend: ClassVar[str] = (
        "IoU: overlap of wrong answers, in: within the source, to: with the originals, "
        "max: with the most similar original"
    )
    source_scores: ClassVar[type] = SourceOverlap
    run_scores: ClassVar[type] = RunOverlap

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        wrong = {s: view.recipe.task.wrong(view.predictions(s, "test"), view.targets("test")) for s in view.theta}
        networks = {source: self._source(wrong, source) for source in wrong}
        generated, original = networks[view.method], networks[ORIGINAL]
        summary: RunOverlap = {
            "oo": original["within"], "gg": generated["within"], "og": generated["to_original"],
            "og_max": generated["max"], "oo_max": original["max"],
        }  # fmt: skip
        return {"networks": networks, **summary}

    def figures(self, view: View) -> Iterator[Figure]:
        from pdiff_plugins.drawing.style import figures
        from pdiff_plugins.evaluators.figures import overlap_violins
        from pdiff_plugins.evaluators.fronts import score_against_overlap

        against = ("score_similarity", "Score against overlap with the originals", score_against_overlap)
        yield from figures(view, against, order=30)
        yield from figures(view, ("similarity", "Overlap of wrong answers", overlap_violins))

    def findings(self, scores: Mapping[str, Any]) -> Iterable[Finding]:
        return of_overlap(scores)

    def _source(self, wrong: dict[str, Tensor], source: str) -> SourceOverlap:
        within = iou(wrong[source], wrong[source])
        count = len(within)
        pairs = (float(within.sum()) - count) / (count * (count - 1)) if count > 1 else None
        across = (
            within.clone().fill_diagonal_(float("nan")) if source == ORIGINAL else iou(wrong[source], wrong[ORIGINAL])
        )
        largest = across.nan_to_num(-1.0).amax(dim=1)
        to_original = pairs if source == ORIGINAL else float(across.mean())
        mean_each = across.nanmean(dim=1)
        return {
            "within": pairs, "to_original": to_original, "max": float(largest.mean()),
            "max_values": largest.tolist(), "mean_values": mean_each.tolist(),
            "within_values": ((within.sum(dim=1) - 1) / max(count - 1, 1)).tolist(),
        }  # fmt: skip

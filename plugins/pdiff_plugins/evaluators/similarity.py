"""Whether networks err on the same examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.components import Evaluator
from pdiff.view import ORIGINAL

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.view import View
from pdiff_plugins.maths.overlap import iou


class Similarity(Evaluator):
    """Overlap of wrong answers: intersection over union (the paper's eq. 7).

    o-o: originals among themselves, each against the others; g-g: the method's; o-g: across; max: the largest overlap
    of each network with any original (for originals, with any other). Two networks without errors overlap fully.
    """

    name = "similarity"
    source: ClassVar[str] = "Neural Network Diffusion, arXiv 2402.13144, eq. 7"
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("IoU in", "within", ".3f"), ("IoU to", "to_original", ".3f"), ("IoU max", "max", ".3f"),
    )  # fmt: skip
    legend: ClassVar[str] = (
        "IoU: overlap of wrong answers, in: within the source, to: with the originals, "
        "max: with the most similar original"
    )

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        wrong = {s: view.recipe.task.wrong(view.predictions(s, "test"), view.targets("test")) for s in view.theta}
        networks = {source: self._source(wrong, source) for source in wrong}
        own, original = networks[view.method], networks[ORIGINAL]
        summary = {
            "oo": original["within"], "gg": own["within"], "og": own["to_original"], "og_max": own["max"],
            "oo_max": original["max"],
        }  # fmt: skip
        return {"networks": networks} | summary

    def _source(self, wrong: dict[str, Tensor], source: str) -> dict[str, Any]:
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

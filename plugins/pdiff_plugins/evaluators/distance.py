"""How far networks lie from the checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.components import Evaluator
from pdiff.results.summary import spread
from pdiff.view import ORIGINAL

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View
from pdiff_plugins.maths.neighbours import nearest


class Distance(Evaluator):
    """L2 distance to the nearest checkpoint, and within a source.

    `ratio` is the median of the first over its median among checkpoints (each to its nearest other): near 0, copies;
    near 1, as far as a checkpoint is from its neighbour. `repeats` is the share of networks that lie closer to
    another of their own source than half of that median: generated twice, which a mean overlap does not show.
    """

    name = "distance"
    version = 2
    source: ClassVar[str] = (
        "Generative Modeling of Weights: Generalization or Memorization?, arXiv 2506.07998, section 4"
    )
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (("ratio", "ratio", ".3g"), ("repeats", "repeats", ".0%"))
    legend: ClassVar[str] = (
        "ratio: distance to the nearest checkpoint, in units of the checkpoints' own; "
        "repeats: share of networks that nearly equal another of the same source"
    )

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        own = nearest(view.zoo.theta_ND, view.zoo.theta_ND, leave_self_out=True)
        reference = float(own.median())
        networks = {}
        for source, theta_MD in view.theta.items():
            distance = own if source == ORIGINAL else nearest(theta_MD, view.zoo.theta_ND)
            ratio = float(distance.median()) / reference if reference else None
            networks[source] = spread(distance.tolist()) | {"ratio": ratio, "values": distance.tolist()}
            if len(theta_MD) > 1:
                within = own if source == ORIGINAL else nearest(theta_MD, theta_MD, leave_self_out=True)
                repeats = float((within < reference / 2).double().mean())
                networks[source] |= {"repeats": repeats, "within": float(within.median())}
        return {"networks": networks, "leave_one_out": reference}

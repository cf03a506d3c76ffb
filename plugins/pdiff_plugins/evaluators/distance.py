"""How far networks lie from the checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NotRequired, TypedDict

from pdiff.components import Evaluator, Figure, Finding
from pdiff.results.scores import Spread
from pdiff.results.summary import spread
from pdiff.view import ORIGINAL
from pdiff_plugins.evaluators.findings import of_distance
from pdiff_plugins.maths.median import median
from pdiff_plugins.maths.neighbours import nearest

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View


class SourceDistance(Spread):
    """L2 distances of a source's networks to the nearest checkpoint (of checkpoints: to the nearest other)."""

    ratio: Annotated[float | None, "the median over that of the checkpoints; None where all checkpoints are the same"]
    values: Annotated[list[float], "of each network"]
    repeats: NotRequired[Annotated[float, "share of networks that nearly equal another of their source"]]
    within: NotRequired[Annotated[float, "median distance to the nearest other network of the source"]]


class RunDistance(TypedDict):
    """What `distance` gives for the run."""

    leave_one_out: Annotated[float, "median distance of a checkpoint to its nearest other"]
    products: NotRequired[Annotated[bool, "that distances are in the selector's coordinates: of adapters, of products"]]


class Distance(Evaluator):
    """L2 distance to the nearest checkpoint, and within a source.

    `ratio` is the median of the first over its median among checkpoints (each to its nearest other): near 0, copies;
    near 1, as far as a checkpoint is from its neighbour. `repeats` is the share of networks that lie closer to
    another of their own source than half of that median: generated twice, which a mean overlap does not show. Of
    adapters distances are of their products, what they add to layers, which no choice of factors changes.
    """

    name = "distance"
    version = 3
    source: ClassVar[str] = (
        "Generative Modeling of Weights: Generalization or Memorization?, arXiv 2506.07998, section 4"
    )
    of_families: ClassVar[bool] = True
    first_columns: ClassVar[tuple[str, ...]] = ("ratio",)
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (("ratio", "ratio", ".3g"), ("repeats", "repeats", ".0%"))
    legend: ClassVar[str] = (
        "ratio: distance to the nearest checkpoint, in units of the checkpoints' own; "
        "repeats: share of networks that nearly equal another of the same source"
    )
    source_scores: ClassVar[type] = SourceDistance
    run_scores: ClassVar[type] = RunDistance

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        zoo_NZ = view.bench.coordinates(view.zoo.theta_ND)
        among = nearest(zoo_NZ, zoo_NZ, leave_self_out=True)
        reference = median(among)
        networks = {}
        for source, theta_MD in view.theta.items():
            z_MZ = view.bench.coordinates(theta_MD)
            distance = among if source == ORIGINAL else nearest(z_MZ, zoo_NZ)
            ratio = median(distance) / reference if reference else None
            scores: dict[str, Any] = {**spread(distance.tolist()), "ratio": ratio, "values": distance.tolist()}
            if len(theta_MD) > 1:
                within = among if source == ORIGINAL else nearest(z_MZ, z_MZ, leave_self_out=True)
                scores["repeats"] = float((within < reference / 2).double().mean())
                scores["within"] = median(within)
            networks[source] = scores
        products = {} if zoo_NZ is view.zoo.theta_ND else {"products": True}
        return {"networks": networks, "leave_one_out": reference, **products}

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.drawing.style import figures
        from pdiff_plugins.evaluators.figures import distance_distributions

        return figures(view, ("distance", "Distance to the nearest checkpoint", distance_distributions))

    def findings(self, scores: Mapping[str, Any]) -> Iterable[Finding]:
        return of_distance(scores)

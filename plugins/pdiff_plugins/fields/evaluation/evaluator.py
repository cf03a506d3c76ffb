"""The evaluator of neural fields: metrics of shapes, each beside what two sets of real shapes give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff.components import Evaluator
from pdiff.errors import UserError
from pdiff.view import ORIGINAL

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.fields.evaluation.judges import Plane, Space


class ShapeMetrics(Evaluator):
    """Whether drawn shapes are as real ones, as varied, and new.

    All of it compares what networks draw at the points of the test split with the test split's own shapes, and with
    the training shapes. Beside it stands what as many training shapes, drawn at random, give: the best that can be
    asked for. Copies are shapes nearer to a training shape than a quarter of what test shapes are in the median.

    In the plane the distance is the root mean squared difference at the points. In space it is the Chamfer distance
    (squared) between points of the surfaces, the nearest training shape is the one with the largest IoU, and copies are
    told by IoU among what networks draw. A network without surface counts as infinitely far from every shape: 24 in the
    table, the distance between opposite corners of the cube.
    """

    name = "fields"
    version = 4
    source: ClassVar[str] = (
        "Achlioptas et al. 2018, arXiv 1707.02392; Yang et al. 2019, arXiv 1906.12320; Kynkäänniemi et al. 2019, "
        "arXiv 1904.06991"
    )
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("precision", "precision", ".2f"), ("recall", "recall", ".2f"), ("1-NNA", "one_nna", ".3f"),
        ("coverage", "coverage", ".2f"), ("MMD", "mmd", ".4f"), ("to train", "to_train", ".4f"),
        ("IoU train", "train_iou", ".2f"), ("copies", "copies", ".0%"),
    )  # fmt: skip
    legend: ClassVar[str] = (
        "precision: share of drawn shapes that lie among the unseen real ones; recall: share of those that lie among "
        "the drawn; 1-NNA: how well the two are told apart, 0.5 is not at all; coverage, MMD: of the real ones by the "
        "drawn; to train: median distance to the nearest training shape; IoU train: median IoU with it; copies: share "
        "that nearly equal one"
    )

    surface_points: int = Field(2048, gt=0, description="in space: points drawn from each surface")
    compared: int = Field(100, ge=5, description="in space: so many shapes of each set, at most, are compared")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        """See `Evaluator.evaluate`. Raises UserError where the run has no fields."""
        judge = self._judge(view, ctx)
        real = judge.real()
        networks = {source: judge.source(view.predictions(source, "test")) for source in view.theta}
        networks[ORIGINAL]["copies"] = None  # they are of the training shapes
        return {
            "networks": networks, "real": real, "headline": _headline(view.method, networks[view.method], real),
            "notes": [_note(real, judge.count), *_empty(networks), *_failed(view, networks)],
        }  # fmt: skip

    def _judge(self, view: View, ctx: Context) -> Plane | Space:
        from pdiff_plugins.fields.evaluation.judges import Plane, Space
        from pdiff_plugins.fields.evaluation.pictures import dimensions

        if view.recipe.task.name != "field" or view.targets("test").ndim != 2:
            raise UserError(f"evaluate fields: is for task field, found {view.recipe.task.name}; leave it out")
        if dimensions(view.recipe.dataset) == 3:
            return Space(view, ctx, self.surface_points, self.compared)
        return Plane(view, ctx)


def _headline(method: str, own: dict[str, Any], real: dict[str, Any]) -> str:
    """Say how drawn shapes compare with real ones."""
    if own["one_nna"] is None:
        return ""
    return (
        f"{own['precision']:.0%} of the shapes drawn by {method} lie among real ones that it has not seen "
        f"(of real training shapes {real['precision']:.0%}), and {own['recall']:.0%} of the real ones among them "
        f"({real['recall']:.0%}); a nearest neighbour tells them from real ones in {own['one_nna']:.0%} of cases "
        f"(real ones {real['one_nna']:.0%}), and {own['copies']:.0%} are copies"
    )


def _note(real: dict[str, Any], count: int) -> str:
    if real["precision"] is None:
        return f"{count} test shapes are too few for the metrics of shapes; 5 are needed"
    own = {key: f"{value:.3f}" for key, value in real.items()}
    return (
        f"as many real training shapes against the {count} test shapes give precision {own['precision']}, recall "
        f"{own['recall']}, 1-NNA {own['one_nna']}, coverage {own['coverage']}, MMD {real['mmd']:.4f}; test shapes lie "
        f"{real['to_train']:.4f} from the nearest training shape in the median"
    )


def _empty(networks: dict[str, Any]) -> list[str]:
    """Say which sources have networks that draw nothing."""
    counts = {source: own["empty"] for source, own in networks.items() if own.get("empty")}
    listed = ", ".join(f"{source} {count}" for source, count in counts.items())
    return [f"networks without any surface, which count as infinitely far from every shape: {listed}"] if counts else []


def _failed(view: View, networks: dict[str, Any]) -> list[str]:
    """Say why, where networks that started apart were not learnt."""
    start = getattr(view.recipe.collect, "start", "")
    if start != "independent" or (networks[view.method]["one_nna"] or 0) < 0.9:
        return []
    return [
        f"{view.method} fails here, and it is the checkpoints' fault: every network was fitted from its own random "
        "start, so that the same shape can stand in weights in countless orders and signs of hidden units, and the "
        "weights' distribution has no shape that a generator could learn. With collect.start = 'mean' all else the "
        "same works"
    ]

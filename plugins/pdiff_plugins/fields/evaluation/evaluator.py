"""The evaluator of neural fields: metrics of shapes, each beside what two sets of real shapes give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NotRequired, TypedDict

from pydantic import Field

from pdiff.components import Evaluator, Family, Finding
from pdiff.errors import UserError
from pdiff.results.scores import given_by
from pdiff.view import ORIGINAL
from pdiff_plugins.fields.evaluation import findings
from pdiff_plugins.fields.shapes.space import require
from pdiff_plugins.fields.task import FieldTask, foresee_fields

if TYPE_CHECKING:
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.fields.evaluation.judges import Plane, Space


class ShapeScores(TypedDict):
    """A set of drawn shapes beside as many real ones of the test split; None for fewer than five."""

    precision: Annotated[float | None, "share of drawn shapes that lie among the real ones"]
    recall: Annotated[float | None, "share of real shapes that lie among the drawn ones"]
    one_nna: Annotated[
        float | None, "share whose nearest other is of their own set; 0.5 where they cannot be told apart"
    ]
    coverage: Annotated[float | None, "share of real shapes that are nearest to some drawn one"]
    mmd: Annotated[float | None, "mean distance of a real shape to the nearest drawn one"]
    to_train: Annotated[float, "median distance to the nearest training shape"]
    train_iou: Annotated[float, "median IoU with the nearest training shape"]
    copies: Annotated[
        float | None, "share that nearly equal a training shape; None of the checkpoints, which are of them"
    ]
    empty: NotRequired[Annotated[int, "in space: networks without any surface"]]


class RunShapes(TypedDict):
    """What the scores of shapes have to be seen beside."""

    real: Annotated[ShapeScores, "what training shapes, drawn at random, give in place of drawn ones"]
    count: Annotated[int, "test shapes that are compared"]


class ShapeMetrics(Evaluator):
    """Whether drawn shapes are as real ones, as varied, and new.

    All of it compares what networks draw at the points of the test split with the test split's own shapes, and with
    the training shapes. Beside it stands what as many training shapes, drawn at random, give: the best that can be
    asked for. Copies are shapes nearer to a training shape than a quarter of what test shapes are in the median.

    Where each network has a shape of its own (task `shape`), training shapes are those learnt and test shapes those
    held out; methods that take conditions are asked for those held out, once each. What draws them well then lies next
    to them, and its 1-NNA is below 0.5.

    In the plane the distance is the root mean squared difference at the points. In space it is the Chamfer distance
    (squared) between points of the surfaces, the nearest training shape is the one with the largest IoU, and copies are
    told by IoU among what networks draw. A network without surface counts as infinitely far from every shape: 24 in the
    table, the distance between opposite corners of the cube.
    """

    name = "fields"
    version = 6
    source: ClassVar[str] = (
        "Achlioptas et al. 2018, arXiv 1707.02392; Yang et al. 2019, arXiv 1906.12320; Kynkäänniemi et al. 2019, "
        "arXiv 1904.06991"
    )
    of_families: ClassVar[bool] = True
    first_columns: ClassVar[tuple[str, ...]] = ("1-NNA", "coverage", "copies")
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
    source_scores: ClassVar[type] = ShapeScores
    run_scores: ClassVar[type] = RunShapes

    surface_points: int = Field(2048, gt=0, description="in space: points drawn from each surface")
    compared: int = Field(100, ge=5, description="in space: so many shapes of each set, at most, are compared")

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        foresee_fields(ahead)
        if isinstance(ahead.recipe.task, Family) and not getattr(ahead.recipe.collect, "held_out", 1):
            ahead.lacks(f"{ahead.key}: compares drawn shapes with those held out; set collect.held_out, such as 50")
        if getattr(ahead.recipe.dataset, "dim", 2) == 3:
            require("skimage", "evaluate fields")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        """See `Evaluator.evaluate`. Raises UserError where the run has no fields."""
        from pdiff_plugins.fields.evaluation.sets import drawn

        judge = self._judge(view, ctx)
        real = judge.real()
        networks = {source: judge.source(drawn(view, source, ctx)) for source in view.theta}
        networks[ORIGINAL]["copies"] = None  # they are of the training shapes
        return {"networks": networks, "real": real, "count": judge.count}

    def findings(self, scores: Mapping[str, Any]) -> Iterator[Finding]:
        networks, beside, method = given_by(scores, "fields"), scores["fields"], scores["method"]
        if headline := findings.headline(method, networks[method], beside["real"]):
            yield Finding(headline, headline=True)
        start = scores["recipe"]["collect"].get("start", "")
        for note in findings.notes(method, networks, beside["real"], beside["count"], start):
            yield Finding(note, note=True)

    def _judge(self, view: View, ctx: Context) -> Plane | Space:
        from pdiff_plugins.fields.evaluation.judges import Plane, Space
        from pdiff_plugins.fields.evaluation.pictures import dimensions

        if not isinstance(view.recipe.task, FieldTask) or view.targets("test").ndim != 2:
            raise UserError(
                f"evaluate fields: is for tasks field and shape, found {view.recipe.task.name}; leave it out"
            )
        if dimensions(view.recipe.dataset) == 3:
            return Space(view, ctx, self.surface_points, self.compared)
        return Plane(view, ctx)

"""Neural fields: networks that are shapes. The architecture, the task, and all that this plugin registers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff.components import Family, Task

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.data import Batch
    from pdiff.view import Setup
    from pdiff_plugins.fields.evaluation.pictures import Renderer


EDGE = 40.0
"""How sharp pictures of signed distances are: 1 / the width of the edge, in units of the coordinates."""
LEAST_OCCUPANCY = 1e-9
"""What is less, or as near to 1, counts as this much where logits are taken."""


class FieldTask(Task):
    """Networks as shapes: occupancy or signed distance at a point.

    The targets of a split are all of its shapes, `[P, S]`, and the loss of one network is its mean over them, so that
    what one network learns of a whole split is the average shape. The score is the IoU with the nearest of them; a
    point is wrong where the network differs from that one.
    """

    name = "field"
    metric = "iou"
    unit = "%"
    source: ClassVar[str] = "HyperDiffusion, arXiv 2303.17015, section 3.1"
    values: Literal["occupancy", "distance"] = Field(
        "occupancy", description="what the network gives: the logit of occupancy, or signed distance"
    )

    def loss(self, model: Any, batch: Batch) -> Tensor:
        from torch.nn import functional as F

        out_B1, targets_BS = model(batch.inputs), batch.targets
        if self.values == "distance":
            return F.mse_loss(out_B1.expand_as(targets_BS), targets_BS)
        return F.binary_cross_entropy_with_logits(out_B1.expand_as(targets_BS), targets_BS)

    def predict(self, model: Any, inputs: Tensor) -> Tensor:
        out_B = model(inputs)[:, 0]
        return out_B.sigmoid() if self.values == "occupancy" else out_B

    def inside(self, values: Tensor) -> Tensor:
        """Return which points lie inside the shape."""
        return values > 0.5 if self.values == "occupancy" else values < 0

    def signed(self, values: Tensor) -> Tensor:
        """Return numbers that cross zero evenly at the surface, below zero inside, for meshes."""
        return values if self.values == "distance" else -values.double().logit(LEAST_OCCUPANCY).float()

    def occupancy(self, values: Tensor) -> Tensor:
        """Return how much of a point is inside, 0..1, for pictures."""
        return values if self.values == "occupancy" else (-EDGE * values).sigmoid()

    def renderer(self, recipe: Setup, bench: Bench) -> Renderer:
        """Return what draws the networks, see `evaluation.pictures.Draws`."""
        from pdiff_plugins.fields.evaluation.pictures import FieldRenderer

        return FieldRenderer(self, recipe, bench)

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        from pdiff_plugins.maths.overlap import iou

        return iou(self.inside(predictions), self.inside(targets.T)).amax(dim=1)

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        from pdiff_plugins.maths.overlap import iou

        inside_MP, shapes_SP = self.inside(predictions), self.inside(targets.T)
        return inside_MP != shapes_SP[iou(inside_MP, shapes_SP).argmax(dim=1)]


def foresee_fields(ahead: Ahead) -> None:
    """Say where what draws or compares shapes is asked about a family whose networks are none."""
    task = ahead.recipe.task
    if isinstance(task, Family) and not isinstance(task, FieldTask):
        ahead.lacks(f"{ahead.key}: is for tasks field and shape, found {task.name}; leave it out")


def as_fields(task: Task) -> FieldTask:
    """Return the task of a run of fields, which its name says."""
    assert isinstance(task, FieldTask), f"task {task.name} has no fields"
    return task

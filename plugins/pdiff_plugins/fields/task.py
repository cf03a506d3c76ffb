"""Neural fields: networks that are shapes. The architecture, the task, and all that this plugin registers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff import hookimpl
from pdiff.components import Architecture, Task
from pdiff.errors import UserError
from pdiff_plugins.fields.collector import Fields
from pdiff_plugins.fields.evaluation.evaluator import ShapeMetrics
from pdiff_plugins.fields.evaluation.renderings import Renderings
from pdiff_plugins.fields.shapes.folder import MeshFolder
from pdiff_plugins.fields.shapes.plane import DigitFields, Shapes2d
from pdiff_plugins.fields.shapes.space import Shapes3d
from pdiff_plugins.fields.surfaces.export import Meshes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.data import Batch


EDGE = 40.0
"""How sharp pictures of signed distances are: 1 / the width of the edge, in units of the coordinates."""

LEAST_OCCUPANCY = 1e-9
"""What is less, or as near to 1, counts as this much where logits are taken."""


class Siren(Architecture):
    """Perceptron with sines, a field over the plane or space.

    `relu_pe` has rectified layers after a positional encoding; `hyperdiffusion_mlp` is HyperDiffusion's, of 36,737
    weights in space (the encoding's frequencies have a factor pi that theirs have not).
    """

    name = "siren"
    source: ClassVar[str] = (
        "Sitzmann et al. 2020, arXiv 2006.09661; Mildenhall et al. 2020, arXiv 2003.08934; hyperdiffusion_mlp: "
        "Erkoç et al. 2023, HyperDiffusion, arXiv 2303.17015, and the authors' code"
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "relu_pe": {"activation": "relu", "frequencies": 4},
        "hyperdiffusion_mlp": {"activation": "relu", "frequencies": 4, "hidden": 3, "width": 128},
    }
    hidden: int = Field(2, gt=0, description="hidden layers")
    width: int = Field(16, gt=0, description="width of the hidden layers")
    activation: Literal["sine", "relu"] = Field("sine", description="of the hidden layers")
    w0: float = Field(6.0, gt=0, description="frequency of the sines; read by sine only")
    frequencies: int = Field(0, ge=0, description="frequencies of the positional encoding; 0: none")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """See `Architecture.build`. Raises UserError where inputs are not coordinates."""
        from pdiff_plugins.fields.siren import FieldNet

        if len(input_shape) != 1:
            raise UserError(
                f"architecture {self.name}: takes coordinates, not inputs of shape {list(input_shape)}; "
                "use a data set of fields, such as digit_fields"
            )
        w0 = self.w0 if self.activation == "sine" else 0.0
        return FieldNet(input_shape[0], outputs, self.hidden, self.width, w0, self.frequencies)


class FieldTask(Task):
    """Networks as shapes: occupancy or signed distance at a point.

    The targets of a split are all of its shapes, `[P, S]`, and the loss of one network is its mean over them, so that
    what one network learns of a whole split is the average shape. The score is the IoU with the nearest of them; a
    point is wrong where the network differs from that one.
    """

    name = "field"
    metric = "iou"
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

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        from pdiff_plugins.evaluators.accuracy import iou

        return iou(self.inside(predictions), self.inside(targets.T)).amax(dim=1)

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        from pdiff_plugins.evaluators.accuracy import iou

        inside_MP, shapes_SP = self.inside(predictions), self.inside(targets.T)
        return inside_MP != shapes_SP[iou(inside_MP, shapes_SP).argmax(dim=1)]


@hookimpl
def register_architectures(register: Any) -> None:
    register(Siren)


@hookimpl
def register_datasets(register: Any) -> None:
    register(DigitFields)
    register(Shapes2d)
    register(Shapes3d)
    register(MeshFolder)


@hookimpl
def register_tasks(register: Any) -> None:
    register(FieldTask)


@hookimpl
def register_collectors(register: Any) -> None:
    register(Fields)


@hookimpl
def register_evaluators(register: Any) -> None:
    register(ShapeMetrics)
    register(Renderings)


@hookimpl
def register_reports(register: Any) -> None:
    register(Meshes)


@hookimpl
def render_samples(recipe: Any, zoo: Any, theta_MD: Any, ctx: Any, folder: Any) -> None:
    if recipe.task.name == FieldTask.name:
        from pdiff_plugins.fields.command import picture

        (folder / "samples.png").write_bytes(picture(recipe, zoo, theta_MD, ctx, side=64))


@hookimpl
def register_commands(app: Any) -> None:
    from pdiff_plugins.fields.command import render

    app.command()(render)

"""The task of radiance fields: a network is a scene in colour, seen from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff.errors import UserError
from pdiff_plugins.fields.family import OfShapes
from pdiff_plugins.maths.decibels import psnr

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.data import Batch
    from pdiff.view import Setup
    from pdiff_plugins.radiance.pictures import SceneRenderer

OUTPUTS = 4
"""Of a network at a point: logits of red, green and blue, and what density is made of."""
SHIFT = 1.0
"""Taken from a network's density before the softplus, so that a new network is nearly clear (as in Mip-NeRF)."""
VISIBLE = 0.1
"""Root mean squared difference of a ray's colour from which it is wrong."""


class Radiance(OfShapes):
    """Networks as scenes: density and colour at a point, seen along rays.

    Each network is one scene. Its loss is the squared error of colours along rays of the views that are fitted; its
    score is the PSNR of all rays of views that are not, in decibels. A ray is wrong whose colour is off by more than
    0.1. Behind a scene it is white.
    """

    name = "radiance"
    metric = "psnr"
    unit = ""
    source: ClassVar[str] = "Mildenhall et al. 2020, NeRF, arXiv 2003.08934, section 4"
    samples: int = Field(20, gt=1, description="points along a ray in training, one somewhere in each of as many parts")
    fine: int = Field(64, gt=1, description="points along a ray elsewhere, in the middles of parts")
    density: float = Field(10.0, gt=0, description="density per softplus of a network's output, in 1 / length")

    def outputs(self, classes: int) -> int:
        return OUTPUTS

    def check_network(self, model: Any, inputs: Any, outputs: int) -> None:
        given = model(inputs.flatten(0, -2))
        if getattr(given, "ndim", 0) != 2 or given.shape[1] < OUTPUTS:
            raise UserError(
                f"task radiance: a network gives {list(getattr(given, 'shape', ()))} for points; it takes [points, 4], "
                "three logits of colour and a density; take architecture.name = 'radiance_mlp'"
            )

    def field(self, model: Any, points_P6: Tensor) -> tuple[Tensor, Tensor]:
        """Return densities `[P]` and colours `[P, 3]` at points with directions; see `rendering.Field`."""
        from torch.nn.functional import softplus

        out = model(points_P6)
        return self.density * softplus(out[:, 3] - SHIFT), out[:, :3].sigmoid()

    def seen(self, model: Any, rays_B7: Tensor, samples: int = 0) -> Tensor:
        """Return the colours of rays, `[B, 3]`; of so many samples, by default `fine`.

        Of rays of each of several scenes, `[B, S, 7]`, which a network of none is shown, `[B, S, 3]`.
        """
        from pdiff_plugins.radiance.rendering import rendered

        colours = rendered(lambda points_P6: self.field(model, points_P6), rays_B7.flatten(0, -2), samples or self.fine)
        return colours.unflatten(0, rays_B7.shape[:-1])

    def loss(self, model: Any, batch: Batch) -> Tensor:
        return (self.seen(model, batch.inputs, self.samples) - batch.targets).square().mean()

    def predict(self, model: Any, inputs: Tensor) -> Tensor:
        return self.seen(model, inputs)

    def answer(self, model: Any, inputs: Any) -> Tensor:
        return self.seen(model, inputs)

    def renderer(self, recipe: Setup, bench: Bench) -> SceneRenderer:
        """Return what draws the networks, see `fields.evaluation.pictures.Draws`."""
        from pdiff_plugins.radiance.pictures import SceneRenderer

        return SceneRenderer(self, bench)

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return psnr(predictions, targets)

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return (predictions - targets).square().mean(dim=-1).sqrt() > VISIBLE

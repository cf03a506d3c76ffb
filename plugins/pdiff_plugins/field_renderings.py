"""The evaluator that keeps pictures of neural fields, for the report to show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from pdiff.components import Evaluator
from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.field_pictures import Renderer


class Renderings(Evaluator):
    """What the method's networks draw: on their way from noise, at any size.

    The film has the networks as they are while noise is removed, and the clean networks that the denoiser predicts from
    them; frames are spaced evenly in the angle between signal and noise, so that each shows as much change. Nothing
    is picked: samples are the first ones.
    """

    name = "renderings"
    samples: int = Field(16, gt=1, description="samples shown beside their nearest training shapes")
    films: int = Field(4, gt=0, description="samples followed from noise")
    frames: int = Field(12, gt=2, description="moments of each film")
    side: int = Field(48, ge=8, description="pixels along each side of the small pictures")
    sides: tuple[int, ...] = Field((8, 32, 128, 512), min_length=1, description="pixels at which one sample is drawn")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        """See `Evaluator.evaluate`. Raises UserError where the run has no fields in the plane."""
        from pdiff_plugins.field_pictures import Renderer, mosaic, text

        if view.recipe.task.name != "field" or not _is_square(view.targets("train")):
            raise UserError("evaluate renderings: draws fields that are known on a square; leave it out")
        draw, theta_MD = Renderer(view.recipe, view.zoo, ctx), view.theta[view.method]
        return {
            "film": self._film(view, draw, ctx), "samples": self._samples(view, draw, theta_MD[: self.samples]),
            "sides": {str(side): text(mosaic(draw(theta_MD[:1], side)[None], line=0)) for side in self.sides},
            "between": text(mosaic(draw(_between(theta_MD[0], theta_MD[-1], self.frames), self.side)[None])),
        }  # fmt: skip

    def _film(self, view: View, draw: Renderer, ctx: Context) -> dict[str, Any]:
        from pdiff_plugins.field_pictures import mosaic, text

        film = view.generators[view.method].film(self.films, self.frames, ctx)
        if film is None:
            return {}
        signal_F, *ways = film
        rows = {}
        for name, theta_FMD in zip(("noisy", "clean"), ways, strict=True):
            pixels = draw(theta_FMD.transpose(0, 1).flatten(0, 1), self.side)
            rows[name] = text(mosaic(pixels.unflatten(0, (self.films, -1))))
        return {"signal": signal_F} | rows

    def _samples(self, view: View, draw: Renderer, theta_MD: Tensor) -> str:
        """Return the samples above the training shapes nearest to them."""
        import torch

        from pdiff_plugins.field_metrics import nearest
        from pdiff_plugins.field_pictures import mosaic, text, to_grey

        train_TP = view.targets("train").T
        side = round(train_TP.shape[1] ** 0.5)
        _, index_M = nearest(view.predict(view.method, "train")[: len(theta_MD)], train_TP)
        shapes_MHW = to_grey(view.recipe.task.occupancy(train_TP[index_M])).reshape(-1, side, side)
        return text(mosaic(torch.stack([draw(theta_MD, side), shapes_MHW])))


def _is_square(targets_PS: Tensor) -> bool:
    return targets_PS.ndim == 2 and round(len(targets_PS) ** 0.5) ** 2 == len(targets_PS)


def _between(first_D: Tensor, last_D: Tensor, count: int) -> Tensor:
    """Return networks on the straight line from one to the other, `[count, D]`."""
    import torch

    return first_D + torch.linspace(0, 1, count)[:, None] * (last_D - first_D)

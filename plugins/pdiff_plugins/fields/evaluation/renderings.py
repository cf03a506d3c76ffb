"""The evaluator that keeps pictures of neural fields, for the report to show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict

from pydantic import Field

from pdiff.components import Evaluator, Figure
from pdiff.errors import UserError
from pdiff_plugins.fields.task import FieldTask, foresee_fields

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.fields.evaluation.pictures import Renderer

SIDES = {2: (8, 32, 128, 512), 3: (12, 24, 48, 96)}
"""Sides of the grids on which one sample is drawn, in the plane and in space."""


class Film(TypedDict, total=False):
    """Networks on their way from noise, a PNG in base64 each; nothing where the method has no such way."""

    signal: Annotated[list[float], "share of signal at each moment"]
    noisy: Annotated[str, "the networks, noise fading"]
    clean: Annotated[str, "the clean networks predicted from them"]


class Pictures(TypedDict):
    """Pictures of the method's networks, a PNG in base64 each."""

    dim: Annotated[int, "2 in the plane, 3 in space"]
    film: Annotated[Film, "networks on their way from noise"]
    samples: Annotated[str, "samples above the training shapes nearest to them"]
    sides: Annotated[dict[str, str], "side in pixels -> the first sample"]
    between: Annotated[str, "the straight line from the first sample to the last"]


class Renderings(Evaluator):
    """What the method's networks draw: on their way from noise, at any size.

    Shapes in space are drawn as meshes, from marching cubes; what has no surface leaves its picture empty.

    The film has the networks as they are while noise is removed, and the clean networks that the denoiser predicts from
    them; frames are spaced evenly in the angle between signal and noise, so that each shows as much change. Nothing
    is picked: samples are the first ones.
    """

    name = "renderings"
    of_families: ClassVar[bool] = True
    run_scores: ClassVar[type] = Pictures
    samples: int = Field(16, gt=1, description="samples shown beside their nearest training shapes")
    films: int = Field(4, gt=0, description="samples followed from noise")
    frames: int = Field(12, gt=2, description="moments of each film")
    side: int = Field(48, ge=8, description="pixels along each side of the small pictures; in space, cells of the grid")
    sides: tuple[int, ...] = Field(
        (), description="sides at which one sample is drawn; none: 8, 32, 128 and 512, in space 12, 24, 48 and 96"
    )

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        foresee_fields(ahead)

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        """See `Evaluator.evaluate`. Raises UserError where the run has no fields known on a grid."""
        from pdiff_plugins.drawing.kept import text
        from pdiff_plugins.fields.evaluation.pictures import LARGE, Renderer, mosaic

        if not isinstance(view.recipe.task, FieldTask):
            raise UserError(
                f"evaluate renderings: is for tasks field and shape, found {view.recipe.task.name}; leave it out"
            )
        draw, theta_MD = Renderer(view.recipe, view.bench), view.theta[view.method]
        if not _is_grid(view.targets("train"), draw.dim):
            raise UserError("evaluate renderings: draws fields that are known on a square or cube; leave it out")
        return {
            "dim": draw.dim, "film": self._film(view, draw, ctx),
            "samples": self._samples(view, draw, theta_MD[: self.samples]),
            "sides": {
                str(side): text(mosaic(draw(theta_MD[:1], side, LARGE)[None], line=0))
                for side in self.sides or SIDES[draw.dim]
            },
            "between": text(mosaic(draw(_between(theta_MD[0], theta_MD[-1], self.frames), self.side)[None])),
        }  # fmt: skip

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.drawing.style import figures
        from pdiff_plugins.fields.figures import between, film, film_animated, resolutions, samples

        return figures(
            view,
            ("film", "From noise to shapes", film),
            ("film_animated", "From noise to shapes, animated", film_animated),
            ("shapes", "Generated shapes", samples),
            ("resolutions", "One network at several sizes", resolutions),
            ("between", "Between two networks", between),
            order=10,
        )

    def _film(self, view: View, draw: Renderer, ctx: Context) -> dict[str, Any]:
        from pdiff_plugins.drawing.kept import text
        from pdiff_plugins.fields.evaluation.pictures import mosaic

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

        from pdiff_plugins.drawing.kept import text
        from pdiff_plugins.fields.evaluation.metrics import nearest
        from pdiff_plugins.fields.evaluation.pictures import mosaic
        from pdiff_plugins.fields.evaluation.sets import learnt

        train_TP = learnt(view)
        drawn_MP = draw.values(theta_MD, round(train_TP.shape[1] ** (1 / draw.dim)))
        _, index_M = nearest(drawn_MP, train_TP)
        return text(mosaic(torch.stack([draw.drawn(drawn_MP), draw.drawn(train_TP[index_M])])))


def _is_grid(targets_PS: Tensor, dim: int) -> bool:
    return targets_PS.ndim == 2 and round(len(targets_PS) ** (1 / dim)) ** dim == len(targets_PS)


def _between(first_D: Tensor, last_D: Tensor, count: int) -> Tensor:
    """Return networks on the straight line from one to the other, `[count, D]`."""
    import torch

    return first_D + torch.linspace(0, 1, count)[:, None] * (last_D - first_D)

"""The evaluator that keeps pictures of networks that are shapes or scenes, for the report to show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NotRequired, TypedDict

from pydantic import Field

from pdiff.components import Evaluator, Figure

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.fields.evaluation.pictures import Renderer


class Film(TypedDict, total=False):
    """Networks on their way from noise, a PNG in base64 each; nothing where no method has such a way."""

    source: Annotated[str, "whose they are"]
    signal: Annotated[list[float], "share of signal at each moment"]
    noisy: Annotated[str, "the networks, noise fading"]
    clean: Annotated[str, "the clean networks predicted from them"]


class Turned(TypedDict):
    """Networks from all around."""

    count: Annotated[int, "sides from which each is seen"]
    picture: Annotated[str, "a PNG in base64, a row for each network"]


class Unseen(TypedDict):
    """Shapes that are held out, as several draw them."""

    rows: Annotated[list[str], "what each row of the picture is"]
    picture: Annotated[str, "a PNG in base64, a column for each shape"]


class Words(TypedDict):
    """One sentence, each word replaced in turn."""

    sentences: Annotated[list[list[str]], "by row: the sentence, and others in which one word differs"]
    picture: Annotated[str, "a PNG in base64: the first network that the method gives for each"]


class Pictures(TypedDict):
    """Pictures of the method's networks, a PNG in base64 each."""

    dim: Annotated[int, "2 in the plane, 3 in space"]
    colour: Annotated[bool, "whether they are scenes in colour"]
    film: Annotated[Film, "networks on their way from noise"]
    samples: Annotated[str, "samples above the training shapes nearest to them"]
    sides: Annotated[dict[str, str], "side in pixels -> the first sample"]
    between: Annotated[str, "the straight line from the first sample to the last"]
    turned: NotRequired[Annotated[Turned, "in space: samples from all around"]]
    conditions: NotRequired[Annotated[str, "networks for conditions on the straight line between two"]]
    words: NotRequired[Annotated[Words, "where networks are asked for in a sentence: one sentence varied"]]
    unseen: NotRequired[Annotated[Unseen, "where shapes are described: those held out"]]


class Renderings(Evaluator):
    """What the method's networks draw: from noise on, at any size, from all around.

    Shapes in space are drawn as meshes, from marching cubes; what has no surface leaves its picture empty. Scenes in
    colour are rendered.

    The film has the networks as they are while noise is removed, and the clean networks that the denoiser predicts from
    them; frames are spaced evenly in the angle between signal and noise, so that each shows as much change. It is of
    the first baseline that has such a way where the method has none. Where shapes are described and the method is asked
    for them, shapes held out stand beside what it gives, and what the best plain way does. Nothing is picked: samples
    are the first ones.
    """

    name = "renderings"
    version = 2
    of_families: ClassVar[bool] = True
    run_scores: ClassVar[type] = Pictures
    samples: int = Field(16, gt=1, description="samples shown beside their nearest training shapes")
    films: int = Field(4, gt=0, description="samples followed from noise, and turned")
    frames: int = Field(12, gt=2, description="moments of each film")
    turns: int = Field(24, gt=1, description="in space: sides from which a sample is seen as it turns")
    side: int = Field(48, ge=8, description="pixels along each side of the small pictures; in space, cells of the grid")
    sides: tuple[int, ...] = Field(
        (),
        description="sides at which one sample is drawn; none: 8, 32, 128 and 512, of solids 12, 24, 48 and 96, of "
        "scenes 16, 32, 64 and 128",
    )

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        task = ahead.recipe.task
        if not hasattr(task, "renderer"):
            ahead.lacks(
                f"{ahead.key}: renderings draws networks that are shapes or scenes, and those of task {task.name} are "
                "neither; leave it out"
            )

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        """See `Evaluator.evaluate`. Raises UserError where the run has no fields known on a grid."""
        from pdiff_plugins.drawing.kept import text
        from pdiff_plugins.fields.evaluation.pictures import LARGE, mosaic, renderer_of

        draw, theta_MD = renderer_of(view.recipe, view.bench, "evaluate renderings"), view.theta[view.method]
        kept = {
            "dim": draw.dim, "colour": draw.colour, "film": self._film(view, draw, ctx),
            "samples": text(mosaic(draw.beside(view, theta_MD[: self.samples], self.side))),
            "sides": {
                str(side): text(mosaic(draw(theta_MD[:1], side, LARGE)[None], line=0))
                for side in self.sides or draw.sides
            },
            "between": text(mosaic(draw(_between(theta_MD[0], theta_MD[-1], self.frames), self.side)[None])),
        }  # fmt: skip
        if draw.dim == 3:
            turned = draw.turned(theta_MD[: self.films], self.side, self.turns)
            kept["turned"] = {"count": self.turns, "picture": text(mosaic(turned))}
        return kept | self._asked(view, draw, ctx)

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.drawing.style import figures
        from pdiff_plugins.fields.figures import asked
        from pdiff_plugins.fields.figures import networks as drawn

        what = "scenes" if view.scores["renderings"].get("colour") else "shapes"
        return figures(
            view,
            ("unseen", f"Held-out {what}", asked.unseen),
            ("words", "One sentence, word by word", asked.words),
            ("film", f"From noise to {what}", drawn.film),
            ("film_animated", f"From noise to {what}, animated", drawn.film_animated),
            ("shapes", f"Generated {what}", drawn.samples),
            ("turntable", "From all around", drawn.turntable),
            ("resolutions", "One network at several sizes", drawn.resolutions),
            ("between", "Between two networks", drawn.between),
            ("conditions_between", "Between two conditions", asked.between),
            order=10,
        )

    def _film(self, view: View, draw: Renderer, ctx: Context) -> dict[str, Any]:
        from pdiff_plugins.drawing.kept import text
        from pdiff_plugins.fields.evaluation.pictures import mosaic

        for source in (view.method, *(other for other in view.generators if other != view.method)):
            film = view.generators[source].film(self.films, self.frames, ctx)
            if film is not None:
                signal_F, *ways = film
                rows = {}
                for name, theta_FMD in zip(("noisy", "clean"), ways, strict=True):
                    pixels = draw(theta_FMD.transpose(0, 1).flatten(0, 1), self.side)
                    rows[name] = text(mosaic(pixels.unflatten(0, (self.films, -1))))
                return {"source": source, "signal": signal_F} | rows
        return {}

    def _asked(self, view: View, draw: Renderer, ctx: Context) -> dict[str, Any]:
        """Return pictures of what networks are asked for, where the method takes conditions."""
        if not view.generators[view.method].conditional or view.zoo.condition_NC is None:
            return {}
        from pdiff_plugins.fields.evaluation.asked import between, unseen, words

        kept = {
            "conditions": between(view, draw, ctx, self.frames, self.side),
            "words": words(view, draw, ctx, self.side), "unseen": unseen(view, draw, ctx, self.samples),
        }  # fmt: skip
        return {key: value for key, value in kept.items() if value}


def _between(first_D: Tensor, last_D: Tensor, count: int) -> Tensor:
    """Return networks on the straight line from one to the other, `[count, D]`."""
    import torch

    return first_D + torch.linspace(0, 1, count)[:, None] * (last_D - first_D)

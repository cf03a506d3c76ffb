"""How near generated images are to real ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict

from pydantic import Field

from pdiff.components import Evaluator, Figure, Finding
from pdiff.errors import UserError
from pdiff.results.scores import Spread
from pdiff.view import ORIGINAL
from pdiff_plugins.generation.task import Generation

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View


class SourceFrechet(Spread):
    """Fréchet distances of a source's networks on the test split; lower is better."""

    best: Annotated[float, "of the network that is best on the selection split"]
    best_index: Annotated[int, "number of that network"]
    values: Annotated[list[float], "of each network"]


class RunFrechet(TypedDict):
    """What the distances have to be seen beside, and images."""

    original_best: Annotated[float, "`best` of the originals"]
    original_mean: Annotated[float, "`mean` of the originals"]
    generated_best: Annotated[float, "`best` of the method's networks"]
    generated_mean: Annotated[float, "`mean` of the method's networks"]
    test_images: Annotated[int, "real images of the test split, and drawn images of each network"]
    validation_images: Annotated[int, "real images of the validation split"]
    real: Annotated[float | None, "distance between real images of the two splits; None without validation"]
    noise: Annotated[float, "distance from noise to real images"]
    variance: Annotated[float, "of the real images' features"]
    images: Annotated[dict[str, str], "`real` and each source -> a row of images, a PNG in base64"]


class Frechet(Evaluator):
    """Fréchet distance of every network's images to real ones.

    It is the FID where the features are Inception's. Lower is better. `best` is the distance on the test split of the
    network that is best on the selection split. Beside it: the distance between real images of the two splits, that of
    noise, and a few images of each source.
    """

    name = "frechet"
    version = 2
    source: ClassVar[str] = "Heusel et al. 2017, arXiv 1706.08500, eq. 6; Dowson and Landau 1982"
    first_columns: ClassVar[tuple[str, ...]] = ("Fréchet best", "Fréchet")
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("Fréchet best", "best", ".4g"), ("Fréchet", "mean", ".4g"), ("Fréchet std", "std", ".2g"),
    )  # fmt: skip
    legend: ClassVar[str] = (
        "Fréchet: distance of drawn to real images by their features, lower is better (best, mean and standard "
        "deviation over networks); the score is 1 - distance / variance of the real images' features"
    )
    source_scores: ClassVar[type] = SourceFrechet
    run_scores: ClassVar[type] = RunFrechet
    images: int = Field(10, ge=0, description="images shown of the best network of each source")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        task = view.recipe.task
        if not isinstance(task, Generation):
            raise UserError(f"evaluate frechet: is for task generation, found {task.name}; leave it out")
        networks = {source: self._source(view, task, source) for source in view.theta}
        pair = (("original", networks[ORIGINAL]), ("generated", networks[view.method]))
        summary = {f"{who}_{key}": scores[key] for who, scores in pair for key in ("best", "mean")}
        shown = self._drawn(view, task, networks, ctx)
        return {"networks": networks} | summary | self._beside(view, task, ctx) | {"images": shown}

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.drawing.style import figures
        from pdiff_plugins.generation.figures import generated_images

        return figures(view, ("images", "Generated images", generated_images), order=10)

    def findings(self, scores: Mapping[str, Any]) -> Iterator[Finding]:
        beside: RunFrechet = scores["frechet"]
        real, count = beside["real"], beside["test_images"]
        known = f"between real images of validation ({beside['validation_images']}) and test it is"
        yield Finding(
            f"Fréchet distances are of {count:,} drawn to as many real images; "
            + ("" if real is None else f"{known} {real:.4g}, ")
            + f"from noise to real ones {beside['noise']:.4g}, and the variance of the real ones' features is "
            f"{beside['variance']:.4g}; an image is a wrong answer where it lies outside the manifold of the real ones",
            note=True,
        )

    def _source(self, view: View, task: Generation, source: str) -> dict[str, Any]:
        from pdiff.results.summary import spread

        test, _ = task.distances(view.predictions(source, "test"), view.targets("test"))
        chosen = test
        if view.selection != "test":
            chosen, _ = task.distances(view.predictions(source, view.selection), view.targets(view.selection))
        best = chosen.index(min(chosen))
        return {"best": test[best], "best_index": best} | spread(test) | {"values": test}

    def _beside(self, view: View, task: Generation, ctx: Context) -> dict[str, Any]:
        """Return what the distances have to be seen beside."""
        import torch

        from pdiff_plugins.generation.frechet import to_pixels

        targets = view.targets("test")
        noise = to_pixels(torch.randn(targets.shape, generator=ctx.generator("noise")))
        (d_noise,), variance = task.distances(task.measure().of(noise)[None], targets)
        other = view.targets("validation")
        real = task.distances(task.measure().of_real(other)[None], targets)[0][0] if len(other) > 1 else None
        return {
            "test_images": len(targets), "validation_images": len(other), "real": real, "noise": d_noise,
            "variance": variance,
        }  # fmt: skip

    def _drawn(self, view: View, task: Generation, networks: Mapping[str, Any], ctx: Context) -> dict[str, str]:
        """Return a row of images per source, all from the same noise, as PNG in base64; `real` has some to compare."""
        if not self.images:
            return {}
        from pdiff_plugins.generation.rows import drawn, strip

        best = {source: view.theta[source][scores["best_index"]] for source, scores in networks.items()}
        rows = drawn(view, task, best, self.images, ctx)
        return {name: strip(pixels) for name, pixels in [("real", view.targets("test")[: self.images]), *rows.items()]}

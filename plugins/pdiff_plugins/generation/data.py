"""Image generation by diffusion: its data, its task, and the Fréchet distance of what is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from pdiff import hookimpl
from pdiff.components import Architecture, Dataset, Evaluator, Task
from pdiff.errors import UserError
from pdiff.view import ORIGINAL
from pdiff_plugins.generation.networks import DdpmUnet, DigitFeatures, Inception

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.data import Batch, DatasetSplits, Split
    from pdiff.view import View
    from pdiff_plugins.generation.frechet import Features
    from pdiff_plugins.maths.diffusion import Schedule


class GenerationData(Dataset):
    """Images to learn to draw.

    Train gives the images, validation and test give pairs of starting noise and a real image.
    """

    name = "generation"
    images: Dataset = Field(description="image data set; its images must come in -1..1: mean = [0.5], std = [0.5]")
    examples: int = Field(1000, gt=1, description="images drawn by each network; no more than there are real ones")
    reference: Literal["split", "train"] = Field(
        "split", description="real images compared with: those of the same split, or of train, as papers do on CIFAR-10"
    )

    def content(self, data_root: Any) -> str:
        return self.images.content(data_root)

    def load(self, ctx: Context) -> DatasetSplits:
        from pdiff.data import DatasetSplits

        images = self.images.load(ctx)
        if len(images.input_shape) != 3:
            raise UserError(f"dataset.images: {self.images.name} holds no images")
        pairs = [self._pairs(images, name, ctx) for name in ("validation", "test")]
        return DatasetSplits(images.train, *pairs, input_shape=images.input_shape, outputs=images.input_shape[0])

    def _pairs(self, images: DatasetSplits, name: str, ctx: Context) -> Split:
        """Return starting noise and, as uint8 targets, real images chosen at random."""
        import torch

        from pdiff.data import TensorSplit

        real = images.split("train" if self.reference == "train" and len(images.split(name)) else name)
        chosen = torch.randperm(len(real), generator=ctx.generator("real", name))[: self.examples].sort().values
        noise = torch.randn(len(chosen), *images.input_shape, generator=ctx.generator("noise", name))
        return TensorSplit(noise, self._pixels(real, chosen, images.input_shape))

    def _pixels(self, split: Split, chosen: Tensor, shape: tuple[int, ...]) -> Tensor:
        import torch

        from pdiff_plugins.generation.frechet import to_pixels

        parts = [split.batch(index, torch.device("cpu")).inputs for index in chosen.split(1024)]
        images = torch.cat(parts) if parts else torch.empty(0, *shape)
        if images.numel() and images.abs().max() > 1.001:
            raise UserError(
                f"dataset.images: the images of {self.images.name} come in {images.min():.3g}..{images.max():.3g}, "
                "the noise of diffusion is for -1..1; write mean = [0.5] and std = [0.5]"
            )
        return to_pixels(images)


class Generation(Task):
    """Drawing images by denoising diffusion; scored by the Fréchet distance.

    The score is 1 - d / v: d is the Fréchet distance of drawn to real images, v the variance of the real images'
    features, all features together. 100 % is a network whose images cannot be told from real ones by mean and
    covariance, 0 % one that draws the average features again and again, and noise is below. The evaluator `frechet`
    shows d itself. Few images make d larger: compare networks at equal `examples` only.

    A drawn image counts as wrong when its features lie outside the manifold of the real ones (improved precision).
    """

    name = "generation"
    metric = "skill"
    source: ClassVar[str] = (
        "Ho et al. 2020, arXiv 2006.11239; DDIM: Song et al. 2021, arXiv 2010.02502; Heusel et al. 2017, "
        "arXiv 1706.08500; precision: Kynkäänniemi et al. 2019, arXiv 1904.06991"
    )
    features: Architecture = Field(
        Inception(),
        description="network whose outputs are compared: inception makes d the FID; any architecture will do",
    )
    feature_outputs: int = Field(
        0,
        ge=0,
        description="outputs that its weights have; 0 for networks that give features without (timm, inception)",
    )
    timesteps: int = Field(1000, gt=1, description="steps of noise in training; it grows linearly, as Ho et al.'s")
    steps: int = Field(50, gt=0, description="steps of drawing an image, at most timesteps")
    eta: float = Field(0.0, ge=0, le=1, description="0 is DDIM, the same image each time; 1 with all steps is DDPM")

    @model_validator(mode="after")
    def _within(self) -> Generation:
        if self.steps > self.timesteps:
            raise ValueError(f"steps = {self.steps} is more than timesteps = {self.timesteps}; set it to at most that")
        return self

    def schedule(self) -> Schedule:
        from pdiff_plugins.maths.diffusion import Schedule

        return Schedule("linear", self.timesteps)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        from pdiff_plugins.generation import diffusion as image_diffusion

        x_BCHW = batch.inputs
        self.measure().network(tuple(x_BCHW.shape[1:]), x_BCHW.device)  # what it lacks is told before hours of training
        return image_diffusion.loss(model, x_BCHW, self.schedule())

    def predict(self, model: Any, inputs: Tensor) -> Tensor:
        """Return images in -1..1 from starting noise; the model is called once a step."""
        from pdiff_plugins.generation import diffusion as image_diffusion

        return image_diffusion.images(model, inputs, self.schedule(), steps=self.steps, eta=self.eta)

    def reduce(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return features `[m, B, F]` of images `[m, B, C, H, W]`, in the 256 grey levels of a file."""
        from pdiff_plugins.generation.frechet import to_pixels

        own = self.measure()
        own.of_real(targets)  # on the device where they lie, to be known when the score is asked for
        return own.of(to_pixels(predictions.flatten(0, 1))).unflatten(0, predictions.shape[:2])

    def measure(self) -> Features:
        """Return what gives features; one for all tasks that name the same network."""
        from pdiff_plugins.generation.frechet import features_of

        return features_of(self.features, self.feature_outputs)

    def distances(self, predictions: Tensor, targets: Tensor) -> tuple[list[float], float]:
        """Return each network's squared Fréchet distance to the real images, and the variance of their features."""
        from pdiff_plugins.generation.frechet import Gaussian

        real = Gaussian(self.measure().of_real(targets))
        return [real.distance(Gaussian(features_EF)) for features_EF in predictions], real.variance

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        import torch

        found, variance = self.distances(predictions, targets)
        return 1 - torch.tensor(found, dtype=torch.float64) / variance

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        import torch

        from pdiff_plugins.generation.frechet import outside

        real_EF = self.measure().of_real(targets)
        return torch.stack([outside(features_EF, real_EF) for features_EF in predictions])


class Frechet(Evaluator):
    """Fréchet distance of every network's images to real ones.

    It is the FID where the features are Inception's. Lower is better. `best` is the distance on the test split of the
    network that is best on the selection split. Beside it: the distance between real images of the two splits, that of
    noise, and a few images of each source.
    """

    name = "frechet"
    source: ClassVar[str] = "Heusel et al. 2017, arXiv 1706.08500, eq. 6; Dowson and Landau 1982"
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("Fréchet best", "best", ".4g"), ("Fréchet", "mean", ".4g"), ("Fréchet std", "std", ".2g"),
    )  # fmt: skip
    legend: ClassVar[str] = (
        "Fréchet: distance of drawn to real images by their features, lower is better (best, mean and standard "
        "deviation over networks); the score is 1 - distance / variance of the real images' features"
    )
    images: int = Field(10, ge=0, description="images shown of the best network of each source")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        task = view.recipe.task
        if not isinstance(task, Generation):
            raise UserError(f"evaluate frechet: is for task generation, found {task.name}; leave it out")
        networks = {source: self._source(view, task, source) for source in view.theta}
        pair = (("original", networks[ORIGINAL]), ("generated", networks[view.method]))
        summary = {f"{who}_{key}": own[key] for who, own in pair for key in ("best", "mean")}
        shown = self._drawn(view, task, networks, ctx)
        return {"networks": networks} | summary | self._beside(view, task, ctx) | {"images": shown}

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
        known = "" if real is None else f"between real images of validation ({len(other)}) and test it is {real:.4g}, "
        note = (
            f"Fréchet distances are of {len(targets):,} drawn to as many real images; {known}from noise to real ones "
            f"{d_noise:.4g}, and the variance of the real ones' features is {variance:.4g}; "
            "an image is a wrong answer where it lies outside the manifold of the real ones"
        )
        return {"real": real, "noise": d_noise, "variance": variance, "notes": [note]}

    def _drawn(self, view: View, task: Generation, networks: Mapping[str, Any], ctx: Context) -> dict[str, str]:
        """Return a row of images per source, all from the same noise, as PNG in base64; `real` has some to compare."""
        if not self.images:
            return {}
        from pdiff_plugins.generation.rows import drawn, strip

        best = {source: view.theta[source][own["best_index"]] for source, own in networks.items()}
        rows = drawn(view, task, best, self.images, ctx)
        return {name: strip(pixels) for name, pixels in [("real", view.targets("test")[: self.images]), *rows.items()]}


@hookimpl
def register_architectures(register: Any) -> None:
    for component in (DdpmUnet, Inception, DigitFeatures):
        register(component)


@hookimpl
def register_datasets(register: Any) -> None:
    register(GenerationData)


@hookimpl
def register_tasks(register: Any) -> None:
    register(Generation)


@hookimpl
def register_evaluators(register: Any) -> None:
    register(Frechet)

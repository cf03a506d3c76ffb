"""Networks that generate images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from pdiff.components import Architecture, Task
from pdiff_plugins.generation.networks import Inception

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.data import Batch
    from pdiff_plugins.generation.frechet import Features
    from pdiff_plugins.maths.diffusion import Schedule


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
    unit = "%"
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
    timesteps: int = Field(
        1000, gt=1, le=100_000, description="steps of noise in training; it grows linearly, as Ho et al.'s"
    )
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

        features = self.measure()
        features.of_real(targets)  # on the device where they lie, to be known when the score is asked for
        return features.of(to_pixels(predictions.flatten(0, 1))).unflatten(0, predictions.shape[:2])

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

        distances, variance = self.distances(predictions, targets)
        return 1 - torch.tensor(distances, dtype=torch.float64) / variance

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        import torch

        from pdiff_plugins.generation.frechet import outside

        real_EF = self.measure().of_real(targets)
        return torch.stack([outside(features_EF, real_EF) for features_EF in predictions])

"""p-diff: a codec, then a diffusion model in its latent space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pdiff import hookimpl
from pdiff.components import Codec, Denoiser, Generator, Method, Transform
from pdiff.steps import steps_on
from pdiff_plugins.backbones.codecs import Pca
from pdiff_plugins.backbones.denoisers import MlpDenoiser
from pdiff_plugins.batches import foresee_batch
from pdiff_plugins.latent.options import Guidance, Learn, MeanOf, StartNoise, Whiten, check_sampling, foresee_conditions

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Zoo


SMALLEST_SIGNAL = {"linear": 1e-9, "cosine": 1e-5}
"""Share of the signal below which a predicted epsilon is not trusted. The linear schedule comes near its end in small
steps, and the paper's longest, T = 2,000, leaves 1.6e-9; the cosine one jumps there."""


class PDiff(Method):
    """Neural network diffusion: latent diffusion over parameter vectors.

    `pdiff` is a configuration that a CPU can train: principal components and a perceptron. `pdiff_paper` is the
    paper's: 1-D convolutions for both, with the original's normalisation and unscaled latents.
    """

    name = "pdiff"
    source: ClassVar[str] = (
        "Wang et al. 2024, Neural Network Diffusion, arXiv 2402.13144, section 3, and the authors' code"
    )
    sampling: ClassVar[tuple[str, ...]] = ("sampler", "sampling_steps", "guidance", "mean_of", "noise")
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "pdiff_paper": {
            "faithful": True,
            "codec": {"name": "conv1d"},
            "denoiser": {"name": "conv1d"},
            "steps": 2000,
            "lr": 1e-4,
            "ema": 0.0,
            "prediction": "epsilon",
        }
    }
    codec: Codec = Field(default=Pca(), description="vector <-> latent")
    denoiser: Denoiser = Field(default=MlpDenoiser(), description="network that removes the noise")
    faithful: bool = Field(
        False,
        description="the original's choices: each tensor is normalised by one mean and one standard deviation, "
        "variances by its logarithm, and latents are not rescaled before diffusion",
    )
    steps: int = Field(3000, gt=0, description="training steps of the denoiser")
    lr: float = Field(1e-3, gt=0, description="learning rate of AdamW, to zero along a cosine")
    weight_decay: float = Field(0.0, ge=0, description="weight decay of AdamW")
    batch_size: int = Field(50, gt=0, description="checkpoints per step")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged denoiser that samples; 0: none")
    prediction: Literal["epsilon", "x0", "v"] = Field("v", description="what the denoiser predicts")
    schedule: Literal["linear", "cosine"] = Field("linear", description="how the noise grows")
    beta_start: float = Field(1e-4, gt=0, lt=1, description="first variance of the linear schedule")
    beta_end: float = Field(0.02, gt=0, lt=1, description="last variance of the linear schedule")
    timesteps: int = Field(1000, gt=0, le=100_000, description="length T of the chain")
    sampler: Literal["ddpm", "ddim"] = Field("ddpm", description="ancestral or deterministic sampling")
    sampling_steps: int = Field(0, ge=0, description="steps when sampling; 0: all T")
    whiten: Whiten = True
    condition: Learn = True
    guidance: Guidance = 1.0
    mean_of: MeanOf = 1
    noise: StartNoise = 1.0
    augment: tuple[Transform, ...] = Field(
        (), description="steps on the zoo, in this order, whose checkpoints this method alone learns (permuted, moved)"
    )

    @model_validator(mode="before")
    @classmethod
    def _labels_are_conditions(cls, table: Any) -> Any:
        """Refuse the options of old; `labels = false`, which finished runs have written out, said nothing."""
        if not isinstance(table, Mapping):
            return table
        for option in ("labels", "label"):
            if table.get(option, False) is not False:
                raise PydanticCustomError(
                    "labels",
                    "{option} has gone: labels are conditions now; leave it out and write the table [encoder] with "
                    "name = 'label'",
                    {"option": option},
                )
        return {option: value for option, value in table.items() if option != "labels"}

    @field_validator("augment")
    @classmethod
    def _of_zoos(cls, steps: tuple[Transform, ...]) -> tuple[Transform, ...]:
        return steps_on("zoo", steps)

    @model_validator(mode="after")
    def _sound(self) -> PDiff:
        left = self._signal_left()
        if left < (SMALLEST_SIGNAL[self.schedule] if self.prediction == "epsilon" else 1e-30):
            raise PydanticCustomError(
                "unsound",
                "a {k} schedule of {t} steps leaves {left} of the signal, and prediction = {p} divides by its root; "
                "predict 'x0' or 'v', or lower beta_end",
                {"k": self.schedule, "t": self.timesteps, "left": f"{left:.1e}", "p": repr(self.prediction)},
            )
        check_sampling(self.sampling_steps, self.timesteps)
        if self.noise != 1 and self.sampler != "ddim":
            raise PydanticCustomError(
                "noise",
                "noise = {n}: sampler 'ddpm' adds noise at every step; write sampler = 'ddim'",
                {"n": self.noise},
            )
        return self

    def identity(self) -> dict[str, Any]:
        """See `Component.identity`; an option of older recipes stands in it, so that what they have fitted is found."""
        return super().identity() | {"labels": False}

    def _signal_left(self) -> float:
        """Return alpha_bar after the last step, as `diffusion.Schedule` has it."""
        steps = self.timesteps
        if self.schedule == "cosine":
            return 0.001 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2 * math.sin(math.pi / 2 / 1.008 / steps) ** 2
        slope = (self.beta_end - self.beta_start) / max(steps - 1, 1)
        return math.exp(sum(math.log1p(-self.beta_start - slope * step) for step in range(steps)))

    def foresee(self, ahead: Ahead) -> None:
        if self.augment:  # nobody knows how many there are then
            ahead = replace(ahead, checkpoints=None)
        foresee_batch(ahead, self.batch_size)
        foresee_conditions(self, ahead)
        super().foresee(ahead)

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.latent.pdiff_fit import fit

        return fit(self, zoo, bench, ctx)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.latent.pdiff_fit import load

        return load(self, tensors, zoo)


@hookimpl
def register_methods(register: Any) -> None:
    register(PDiff)

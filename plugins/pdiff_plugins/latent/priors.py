"""Priors over a codec's latents that need no diffusion: flow matching, and kernel densities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff import hookimpl
from pdiff.components import Codec, Denoiser, Generator, Method
from pdiff_plugins.backbones.codecs import Pca
from pdiff_plugins.backbones.denoisers import MlpDenoiser
from pdiff_plugins.batches import foresee_batch
from pdiff_plugins.latent.options import Guidance, Learn, MeanOf, StartNoise, Whiten, foresee_conditions

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Zoo

SANE = {"name": "transformer", "latent_per": "token"}
S_KDE = {"name": "transformer", "latent_per": "network", "latent": 128, "bounded": True}
FAITHFUL = "the original p-diff's normalisation, and latents that are not rescaled"


class FlowMatching(Method):
    """Flow matching in a latent space, along straight lines.

    z_t = (1 - t) noise + t z, and the network learns z - noise.
    """

    name = "flow_matching"
    source: ClassVar[str] = "Lipman et al. 2023, arXiv 2210.02747, section 4.1 (conditional OT path, sigma 0)"
    sampling: ClassVar[tuple[str, ...]] = ("solver", "sampling_steps", "guidance", "mean_of", "noise")
    codec: Codec = Field(default=Pca(), description="vector <-> latent")
    denoiser: Denoiser = Field(default=MlpDenoiser(), description="network that gives the velocity")
    faithful: bool = Field(False, description=FAITHFUL)
    steps: int = Field(3000, gt=0, description="training steps")
    lr: float = Field(1e-3, gt=0, description="learning rate of AdamW, to zero along a cosine")
    weight_decay: float = Field(0.0, ge=0, description="weight decay of AdamW")
    batch_size: int = Field(50, gt=0, description="checkpoints per step")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged network that samples; 0: none")
    solver: Literal["euler", "heun"] = Field("heun", description="how the flow is followed; heun calls it twice a step")
    sampling_steps: int = Field(50, gt=0, description="steps from noise to sample")
    whiten: Whiten = True
    condition: Learn = True
    guidance: Guidance = 1.0
    mean_of: MeanOf = 1
    noise: StartNoise = 1.0

    def foresee(self, ahead: Ahead) -> None:
        foresee_batch(ahead, self.batch_size)
        foresee_conditions(self, ahead)
        super().foresee(ahead)

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.latent.flows import fit

        return fit(self, zoo, bench, ctx)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.latent.flows import load

        return load(self, tensors, zoo)


class Kde(Method):
    """A kernel density over a codec's latents: checkpoints' latents, blurred.

    A `unit` of the latent is drawn as a whole: all of it (`joint`), a token of codec `transformer`, or a dimension.
    Units have anchors of their own (`independent`), as the papers on hyper-representations and SANE say, or all the
    same one and the same noise (`shared`), as the code of both does, which seeds every unit's draw alike: near copies
    of checkpoints. `top` keeps the best checkpoints as anchors, by the selection split (under `protocol = "paper"` that
    is the test split), and `select` the best samples. The papers' bandwidths, 0.002 and 0.2, are absolute.
    """

    name = "kde"
    source: ClassVar[str] = (
        "Schürholt et al. 2022, arXiv 2209.14733, section 3 (S_KDE30); Schürholt et al. 2024 (SANE), arXiv 2406.09997, "
        "section 3 (SANE_KDE30, SANE_SUB), and the authors' code"
    )
    sampling: ClassVar[tuple[str, ...]] = ("bandwidth", "top", "unit", "anchor", "select")
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "s_kde30": {"codec": S_KDE, "unit": "dimension", "top": 0.3, "bandwidth": 0.002},
        "sane_kde30": {"codec": SANE, "unit": "token", "top": 0.3},
        "sane_sub": {"codec": SANE, "unit": "token", "top": 1.0, "select": 5},
    }
    codec: Codec = Field(default=Pca(), description="vector <-> latent")
    faithful: bool = Field(False, description=FAITHFUL)
    bandwidth: float = Field(0.2, gt=0, description="deviation of the kernel, in units of a latent dimension's own")
    top: float = Field(0.3, gt=0, le=1, description="part of the checkpoints, best first, whose latents are anchors")
    unit: Literal["joint", "token", "dimension"] = Field("joint", description="what is drawn as a whole")
    anchor: Literal["independent", "shared"] = Field(
        "independent", description="anchor and noise of units: each its own, or one for all"
    )
    select: int = Field(1, gt=0, description="draw so many times as many, and keep the best on the selection split")

    def variants(self) -> dict[str, Method]:
        """Return itself, labelled by what tells its presets apart."""
        shared = "shared" if self.anchor == "shared" and self.unit != "joint" else ""
        best = f"best of {self.select}" if self.select > 1 else ""
        words = (self.name, "" if self.unit == "joint" else self.unit, shared, best)
        return {" ".join(filter(None, words)): self}

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.latent.densities import fit

        return fit(self, zoo, bench, ctx)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.latent.densities import load

        return load(self, tensors, zoo)


@hookimpl
def register_methods(register: Any) -> None:
    for method in (FlowMatching, Kde):
        register(method)

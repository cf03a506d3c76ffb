"""The variational autoencoder over parameter vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff import hookimpl
from pdiff.components import Codec, Generator, Method
from pdiff_plugins.backbones.codecs import Autoencoder
from pdiff_plugins.batches import foresee_batch
from pdiff_plugins.latent.options import Learn

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class Vae(Method):
    """Variational autoencoder: decodes latents drawn from the prior N(0, I).

    The loss is the squared error, averaged over numbers, plus `kl` times the divergence from the prior, averaged over
    latent dimensions. Of checkpoints with conditions the prior's mean is linear in the condition, and learnt with the
    rest: N(A c, I). `vae_paper` is the paper's: p-diff's own autoencoder, its normalisation, KL weight 1.
    """

    name = "vae"
    source: ClassVar[str] = (
        "Kingma & Welling 2014, arXiv 1312.6114; Neural Network Diffusion, arXiv 2402.13144, Table 8; a prior given a "
        "condition: Sohn, Yan & Lee 2015, NeurIPS, section 4.1"
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "vae_paper": {"faithful": True, "codec": {"name": "conv1d"}, "steps": 2000, "lr": 2e-4, "kl": 1.0}
    }
    codec: Codec = Field(default=Autoencoder(), description="its layers; what it says of training is not used")
    faithful: bool = Field(False, description="the original's normalisation: one mean and deviation per tensor")
    kl: float = Field(1e-3, ge=0, description="weight of the divergence from the prior")
    steps: int = Field(2000, gt=0, description="training steps")
    lr: float = Field(1e-3, gt=0, description="learning rate of AdamW, to zero along a cosine")
    weight_decay: float = Field(0.0, ge=0, description="weight decay of AdamW")
    batch_size: int = Field(50, gt=0, description="checkpoints per step")
    condition: Learn = True

    def foresee(self, ahead: Ahead) -> None:
        foresee_batch(ahead, self.batch_size)

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.latent.vae_fit import fit

        return fit(self, zoo, bench, ctx)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.latent.vae_fit import load

        return load(self, tensors, zoo)


@hookimpl
def register_methods(register: Any) -> None:
    register(Vae)

"""Codecs (vector <-> latent) and denoisers (the network inside a diffusion or flow model)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, PositiveInt

from pdiff.components import Codec
from pdiff_plugins.backbones.codec_module import codec_module
from pdiff_plugins.batches import at_most, foresee_batch

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Layout, Zoo
    from pdiff_plugins.backbones.codec_module import Fitted, Learnt


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError("must be odd, so that a convolution keeps the length")
    return kernel


Odd = Annotated[PositiveInt, AfterValidator(_odd)]
Channels = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
P_DIFF = "Wang et al. 2024, Neural Network Diffusion, arXiv 2402.13144, and the authors' code"


class Identity(Codec):
    """No codec: the vector is its own latent."""

    name = "identity"

    def build(self, *, dim: int, layout: Layout | None = None) -> nn.Module:
        from pdiff_plugins.backbones.nets.linear_codec import IdentityModule

        return IdentityModule(dim)


class Pca(Codec):
    """Principal components, fitted in closed form.

    With at least N - 1 components it is exact on the N checkpoints. Latents beyond their rank are zero. Of checkpoints
    with more numbers than there are checkpoints no basis is held or stored: components are sums of checkpoints.
    """

    name = "pca"
    version = 2
    source: ClassVar[str] = "Pearson 1901; Jolliffe 2002, Principal Component Analysis, section 3.5"
    latent: int = Field(32, gt=0, description="components kept at most")

    def build(self, *, dim: int, layout: Layout | None = None) -> nn.Module:
        from pdiff_plugins.backbones.nets.linear_codec import PcaModule

        return PcaModule(dim, self.latent)

    def on(self, zoo: Zoo, faithful: bool, whole: bool, bench: Bench, ctx: Context) -> Learnt | None:
        """See `OfZoo.on`."""
        from pdiff_plugins.backbones.codec_module import Learnt
        from pdiff_plugins.latent import span

        return Learnt(*span.fit(zoo, self.latent, faithful)) if whole and len(zoo) <= zoo.layout.dim else None

    def loaded(self, tensors: dict[str, Tensor], zoo: Zoo, faithful: bool) -> Fitted:
        """See `OfZoo.loaded`."""
        from pdiff_plugins.latent import span

        return span.load(tensors, zoo, faithful)

    def fit(self, module: nn.Module, x_ND: Tensor, bench: Bench, ctx: Context) -> list[dict[str, float]]:
        from pdiff_plugins.backbones.nets.linear_codec import PcaModule

        assert isinstance(module, PcaModule)
        module.to(ctx.device).fit(x_ND)
        return []


class _NoisyAutoencoder(Codec):
    """Options and training that the autoencoders share."""

    latent: int = Field(128, gt=0, description="length of the latent")
    steps: int = Field(500, gt=0, description="training steps")
    lr: float = Field(2e-5, gt=0, description="learning rate of AdamW, to zero along a cosine")
    weight_decay: float = Field(0.0, ge=0, description="weight decay of AdamW")
    batch_size: int = Field(50, gt=0, description="checkpoints per step")
    input_noise: float = Field(0.001, ge=0, description="std of the noise on the normalised vector while training")
    latent_noise: float = Field(0.1, ge=0, description="std of the noise on the latent while training")

    def foresee(self, ahead: Ahead) -> None:
        foresee_batch(ahead, self.batch_size)

    def fit(self, module: nn.Module, x_ND: Tensor, bench: Bench, ctx: Context) -> list[dict[str, float]]:
        """Minimise the squared error of decode(encode(x + noise) + noise) against x; leaves `module` in eval mode."""
        import torch

        from pdiff.training.loop import train

        count = len(x_ND)
        size = at_most("method.codec.batch_size", self.batch_size, count, ctx.warn)
        module, x_ND = module.to(ctx.device).train(), x_ND.to(ctx.device)
        codec = codec_module(module)

        def draw(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
            rows = torch.randperm(count, generator=generator)[:size]
            noise_BD = torch.randn(size, x_ND.shape[1], generator=generator)
            return rows, noise_BD, torch.randn(size, codec.latent_dim, generator=generator)

        def loss(rows: Tensor, noise_BD: Tensor, noise_BZ: Tensor) -> Tensor:
            x_BD = x_ND[rows]
            z_BZ = codec.encode(x_BD + self.input_noise * noise_BD)
            return torch.nn.functional.mse_loss(codec.decode(z_BZ + self.latent_noise * noise_BZ).float(), x_BD)

        log = train(
            module, loss, steps=self.steps, ctx=ctx, what="codec", lr=self.lr, weight_decay=self.weight_decay,
            draw=draw, by_rows=True,
        )  # fmt: skip
        module.eval()
        return log


class Conv1dCodec(_NoisyAutoencoder):
    """p-diff's autoencoder of 1-D convolutions.

    Layers and sizes are the original's, less its unused head for a variance (latent * (latent + 1) parameters): for
    2,048 numbers and latent 128, 2,182,689 parameters of 2,199,201. After training, batch normalisation uses its
    running statistics, so that a network's latent depends on that network alone; the original kept batch statistics.
    """

    name = "conv1d"
    source: ClassVar[str] = P_DIFF
    channels: Channels = Field((64, 128, 256, 256, 32), description="channels of the halving layers")
    kernel: Odd = Field(7, description="length of the convolutions")

    def build(self, *, dim: int, layout: Layout | None = None) -> nn.Module:
        from pdiff_plugins.backbones.nets.conv1d import Conv1dAutoencoder

        return Conv1dAutoencoder(dim, self.latent, self.channels, self.kernel)


class Autoencoder(_NoisyAutoencoder):
    """Small perceptron autoencoder, quick on a CPU."""

    name = "autoencoder"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"mlp": {}}
    latent: int = Field(32, gt=0, description="length of the latent")
    steps: int = Field(1000, gt=0, description="training steps")
    lr: float = Field(1e-3, gt=0, description="learning rate of AdamW, to zero along a cosine")
    hidden: int = Field(256, gt=0, description="width of the hidden layers")

    def build(self, *, dim: int, layout: Layout | None = None) -> nn.Module:
        from pdiff_plugins.backbones.nets.linear_codec import MlpAutoencoder

        return MlpAutoencoder(dim, self.latent, self.hidden)

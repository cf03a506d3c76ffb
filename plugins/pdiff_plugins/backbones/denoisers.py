"""The networks inside diffusion and flow models."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import Denoiser
from pdiff_plugins.backbones.codecs import P_DIFF, Channels, Odd

if TYPE_CHECKING:
    from torch import nn

    from pdiff.zoo import Layout


class Conv1dDenoiser(Denoiser):
    """p-diff's denoiser of 1-D convolutions over the latent.

    Its parameter count is the original's at every latent size: 2,462,977 at 128, 3,201,537 at 768.
    """

    name = "conv1d"
    source: ClassVar[str] = P_DIFF
    channels: Channels = Field((64, 128, 256, 512), description="channels on the way down; the way up mirrors them")
    kernel: Odd = Field(7, description="length of the convolutions")

    def build(self, *, dim: int, condition_dim: int = 0, layout: Layout | None = None) -> nn.Module:
        from pdiff_plugins.backbones.nets.conv1d import Conv1dDenoiserNet

        return Conv1dDenoiserNet(dim, condition_dim, self.channels, self.kernel)


class MlpDenoiser(Denoiser):
    """Residual perceptron, scaled and shifted by time and condition."""

    name = "mlp"
    source: ClassVar[str] = "adaptive layer norm: Peebles & Xie 2023, arXiv 2212.09748, section 3.2"
    width: int = Field(256, ge=2, description="width of the hidden layers")
    depth: int = Field(3, gt=0, description="residual blocks of two layers")

    def build(self, *, dim: int, condition_dim: int = 0, layout: Layout | None = None) -> nn.Module:
        from pdiff_plugins.backbones.nets.mlp_denoiser import MlpDenoiserNet

        return MlpDenoiserNet(dim, condition_dim, self.width, self.depth)

"""p-diff's two networks of 1-D convolutions, sized as in the authors' code. B batch, D dim, Z latent."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from pdiff_plugins.backbones.nets import conv_chain
from pdiff_plugins.backbones.nets.conv_layer import last, layers
from pdiff_plugins.backbones.nets.mlp_denoiser import TimeEmbedding

SLICE = 64  # the original fills every vector up to a multiple of this


class Conv1dAutoencoder(nn.Module):
    """Five halving convolutions and a linear layer, and their mirror image."""

    def __init__(self, dim: int, latent: int, channels: tuple[int, ...], kernel: int):
        super().__init__()
        halved = 2 ** len(channels)
        unit = max(SLICE, halved)
        padded = -(-dim // unit) * unit
        self.dim, self.latent_dim, self.padding = dim, latent, padded - dim
        flat, first = (channels[-1], padded // halved), channels[0]
        half: dict[str, Any] = {"kernel_size": kernel, "stride": 2, "padding": kernel // 2}
        self.encoder = nn.Sequential(
            *(_layer(nn.Conv1d(a, b, **half), nn.LeakyReLU()) for a, b in pairwise((1, *channels))),
            nn.Flatten(),
            nn.Linear(flat[0] * flat[1], latent),
            nn.Linear(latent, latent),
        )
        up = (*channels[::-1], first)
        self.decoder = nn.Sequential(
            nn.Linear(latent, flat[0] * flat[1]),
            nn.Unflatten(1, flat),
            *(_layer(nn.ConvTranspose1d(a, b, output_padding=1, **half), nn.ELU()) for a, b in pairwise(up)),
            nn.Conv1d(first, 1, kernel, padding=kernel // 2),
        )

    def encode(self, x_BD: Tensor) -> Tensor:
        *convolutions, flatten, enter, leave = self.encoder
        x_BD = F.pad(x_BD, (0, self.padding)) if self.padding else x_BD
        h = conv_chain.run(layers(convolutions), x_BD[:, None, None], self.training)
        return leave(_lean(enter, flatten(h)))

    def decode(self, z_BZ: Tensor) -> Tensor:
        enter, unflatten, *convolutions = self.decoder
        h = unflatten(_lean(enter, z_BZ))[:, :, None]
        return conv_chain.run(layers(convolutions), h, self.training)[:, 0, 0, : self.dim]


def _lean(linear: nn.Module, h: Tensor) -> Tensor:
    """Apply the layer without keeping a copy of its weight in autocast's dtype for the backward pass."""
    return checkpoint(linear, h, use_reentrant=False, preserve_rng_state=False)


class Conv1dDenoiserNet(nn.Module):
    """A U in its channels, not in its length: every layer sees the whole latent plus the time embedding."""

    def __init__(self, dim: int, condition_dim: int, channels: tuple[int, ...], kernel: int):
        super().__init__()
        self.embedding = TimeEmbedding(256, dim, condition_dim)
        self.down = nn.ModuleList(_same(a, b, kernel) for a, b in pairwise((1, *channels)))
        self.up = nn.ModuleList(_same(a, b, kernel) for a, b in pairwise(channels[::-1]))
        self.leave = nn.Conv1d(channels[0], 1, kernel, padding=kernel // 2)

    def forward(self, z_BZ: Tensor, t_B: Tensor, condition_BC: Tensor | None = None) -> Tensor:
        embedding = self.embedding(t_B, condition_BC)[:, None, None]
        h, skips = z_BZ[:, None, None], []
        for layer in self.down:
            h = _activated(layer, h + embedding)
            skips.append(h)
        for layer, skip in zip(self.up, skips[-2::-1], strict=True):
            h = _activated(layer, h + embedding) + skip
        return _convolved(self.leave, h + embedding)[:, 0, 0]


def _layer(convolution: nn.Conv1d | nn.ConvTranspose1d, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm1d(convolution.out_channels), activation)


def _same(before: int, after: int, kernel: int) -> nn.Sequential:
    """Return a layer that keeps the length, for tensors `[B, C, 1, L]` (see conv_chain)."""
    convolution = nn.Conv1d(before, after, kernel, padding=kernel // 2)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ELU(inplace=True))


def _activated(layer: nn.Module, h: Tensor) -> Tensor:
    """Apply a layer that `_same` gave."""
    assert isinstance(layer, nn.Sequential)
    convolution, norm, activation = layer
    assert isinstance(convolution, nn.Conv1d)
    return activation(norm(_convolved(convolution, h)))


def _convolved(convolution: nn.Conv1d, h: Tensor) -> Tensor:
    weight = convolution.weight[:, :, None]
    return last(F.conv2d(h, weight, convolution.bias, padding=(0, *convolution.padding)))

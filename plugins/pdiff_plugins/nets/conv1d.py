"""p-diff's two networks of 1-D convolutions, sized as in the authors' code. B batch, D dim, Z latent."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from pdiff_plugins.nets.mlp_denoiser import TimeEmbedding

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
        half = {"kernel_size": kernel, "stride": 2, "padding": kernel // 2}
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
        return self.encoder(F.pad(x_BD, (0, self.padding))[:, None])

    def decode(self, z_BZ: Tensor) -> Tensor:
        return self.decoder(z_BZ)[:, 0, : self.dim]


class Conv1dDenoiserNet(nn.Module):
    """A U in its channels, not in its length: every layer sees the whole latent plus the time embedding."""

    def __init__(self, dim: int, condition_dim: int, channels: tuple[int, ...], kernel: int):
        super().__init__()
        self.embedding = TimeEmbedding(256, dim, condition_dim)
        same = {"kernel_size": kernel, "padding": kernel // 2}
        self.down = nn.ModuleList(_layer(nn.Conv1d(a, b, **same), nn.ELU()) for a, b in pairwise((1, *channels)))
        self.up = nn.ModuleList(_layer(nn.Conv1d(a, b, **same), nn.ELU()) for a, b in pairwise(channels[::-1]))
        self.leave = nn.Conv1d(channels[0], 1, **same)

    def forward(self, z_BZ: Tensor, t_B: Tensor, condition_BC: Tensor | None = None) -> Tensor:
        embedding = self.embedding(t_B, condition_BC)[:, None]
        h, skips = z_BZ[:, None], []
        for layer in self.down:
            h = layer(h + embedding)
            skips.append(h)
        for layer, skip in zip(self.up, skips[-2::-1], strict=True):
            h = layer(h + embedding) + skip
        return self.leave(h + embedding)[:, 0]


def _layer(convolution: nn.Conv1d | nn.ConvTranspose1d, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm1d(convolution.out_channels), activation)

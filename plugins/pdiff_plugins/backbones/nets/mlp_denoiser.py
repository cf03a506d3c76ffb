"""A residual perceptron as denoiser, and the time embedding that denoisers share. B batch, Z latent, C condition."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoid(t_B: Tensor, dim: int) -> Tensor:
    """Return `[B, dim]` cosines and sines of t at wavelengths from 2 pi to 2 pi 10^4 (Vaswani et al. 2017, 3.5)."""
    rate = torch.exp(-math.log(1e4) * torch.arange(dim // 2, device=t_B.device) / (dim // 2))
    phase = t_B[:, None] * rate
    return torch.cat([phase.cos(), phase.sin()], dim=1)


def once(rows: Tensor) -> Tensor:
    """Return one row where all are the same by expansion."""
    return rows[:1] if rows.stride(0) == 0 else rows


class TimeEmbedding(nn.Module):
    """`[B, out]` from the time and, if there is one, a condition; no condition counts as zeros.

    One time that is expanded over the rows, as in sampling, is embedded once, and the result is expanded.
    """

    def __init__(self, waves: int, out: int, condition_dim: int = 0):
        super().__init__()
        self.waves = waves
        self.time = nn.Sequential(nn.Linear(waves, out), nn.SiLU(), nn.Linear(out, out))
        self.condition = nn.Linear(condition_dim, out, bias=False) if condition_dim else None

    def forward(self, t_B: Tensor, condition_BC: Tensor | None = None) -> Tensor:
        embedding = self.time(sinusoid(once(t_B), self.waves))
        if self.condition is None or condition_BC is None:
            return embedding.expand(len(t_B), -1)
        return embedding + self.condition(condition_BC)


class Block(nn.Module):
    """Residual pair of linear layers whose input is scaled and shifted by the embedding."""

    def __init__(self, width: int, embedding: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(embedding, 2 * width)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding).chunk(2, dim=1)
        return h + self.layers(self.norm(h) * (1 + scale) + shift)


class MlpDenoiserNet(nn.Module):
    """Residual perceptron; its output layer starts at zero, so that training starts from a mean prediction."""

    def __init__(self, dim: int, condition_dim: int, width: int, depth: int):
        super().__init__()
        embedding = width // 2
        self.embedding = TimeEmbedding(128, embedding, condition_dim)
        self.enter = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(Block(width, embedding) for _ in range(depth))
        output = nn.Linear(width, dim)
        nn.init.zeros_(output.weight)
        nn.init.zeros_(output.bias)
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), output)

    def forward(self, z_BZ: Tensor, t_B: Tensor, condition_BC: Tensor | None = None) -> Tensor:
        embedding = nn.functional.silu(once(self.embedding(t_B, condition_BC)))
        h = self.enter(z_BZ)
        for block in self.blocks:
            h = block(h, embedding)
        return self.leave(h)

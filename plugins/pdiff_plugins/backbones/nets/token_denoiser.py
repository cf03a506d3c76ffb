"""Transformers over pieces of the latent, as denoisers.

B batch, Z latent, C condition, T tokens, S numbers per token, E width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pdiff_plugins.backbones.nets.mlp_denoiser import TimeEmbedding, once
from pdiff_plugins.backbones.nets.transformer import Mixing, Neighbours, blocks
from pdiff_plugins.backbones.tokens import Tokens

WAVES = 128
"""Numbers of the time's embedding."""


class AdaptiveBlock(nn.Module):
    """Transformer block that time and condition shift, scale and gate; it starts as the identity (DiT's adaLN-Zero)."""

    def __init__(self, width: int, heads: int, mixing: Mixing = "attention"):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        attends = mixing == "attention"
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True) if attends else None
        self.neighbours = Neighbours(width) if mixing == "convolution" else None
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = zero(nn.Linear(width, 6 * width))

    def forward(self, h_BTE: Tensor, embedding_BE: Tensor) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(embedding_BE)[:, None].chunk(6, dim=2)
        seen = self.norms[0](h_BTE) * (1 + scale) + shift
        if self.attention is not None:
            h_BTE = h_BTE + gate * self.attention(seen, seen, seen, need_weights=False)[0]
        elif self.neighbours is not None:
            h_BTE = h_BTE + gate * self.neighbours(seen)
        return h_BTE + gate2 * self.perceptron(self.norms[1](h_BTE) * (1 + scale2) + shift2)


class OwnIn(nn.Module):
    """Linear maps of tokens to their width, each token with its own; padding is not read."""

    def __init__(self, sizes: list[int], width: int):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(size, width) for size in sizes)

    def forward(self, tokens_BTS: Tensor) -> Tensor:
        rows = (linear(tokens_BTS[:, place, : linear.in_features]) for place, linear in enumerate(self.maps))
        return torch.stack(list(rows), dim=1)


class OwnOut(nn.Module):
    """Linear maps back to tokens, each token with its own, padded to the longest; they start at zero."""

    def __init__(self, sizes: list[int], width: int):
        super().__init__()
        self.maps, self.longest = nn.ModuleList(zero(nn.Linear(width, size)) for size in sizes), max(sizes)

    def forward(self, h_BTE: Tensor) -> Tensor:
        rows = [linear(h_BTE[:, place]) for place, linear in enumerate(self.maps)]
        return torch.stack([nn.functional.pad(row, (0, self.longest - row.shape[1])) for row in rows], dim=1)


def way_in(tokens: Tokens, width: int, apart: bool) -> nn.Module:
    """Return what maps tokens `[B, T, S]` to their width; `apart`: each token by a map of its own."""
    return OwnIn(tokens.mask_TS.sum(dim=1).tolist(), width) if apart else nn.Linear(tokens.shape[1], width)


def way_out(tokens: Tokens, width: int, apart: bool) -> nn.Module:
    """Return what maps back to tokens, zero at first; `apart`: each token by a map of its own."""
    return OwnOut(tokens.mask_TS.sum(dim=1).tolist(), width) if apart else zero(nn.Linear(width, tokens.shape[1]))


class AdaptiveDenoiser(nn.Module):
    """Adaptive blocks over the latent's tokens."""

    def __init__(
        self, tokens: Tokens, condition_dim: int, width: int, depth: int, heads: int, apart: bool = False,
        mixing: Mixing = "attention",
    ):  # fmt: skip
        super().__init__()
        self.tokens, self.positions = tokens, positions(tokens.shape[0], width)
        self.embedding = TimeEmbedding(WAVES, width, condition_dim)
        self.enter = way_in(tokens, width, apart)
        self.blocks = nn.ModuleList(AdaptiveBlock(width, heads, mixing) for _ in range(depth))
        self.norm, self.modulation = nn.LayerNorm(width, elementwise_affine=False), zero(nn.Linear(width, 2 * width))
        self.leave = way_out(tokens, width, apart)

    def forward(self, z_BZ: Tensor, t_B: Tensor, condition_BC: Tensor | None = None) -> Tensor:
        embedding_BE = nn.functional.silu(once(self.embedding(t_B, condition_BC)))
        h_BTE = self.enter(self.tokens.split(z_BZ)) + self.positions
        for block in self.blocks:
            h_BTE = block(h_BTE, embedding_BE)
        shift, scale = self.modulation(embedding_BE)[:, None].chunk(2, dim=2)
        return self.tokens.join(self.leave(self.norm(h_BTE) * (1 + scale) + shift))


class AdditiveDenoiser(nn.Module):
    """Plain blocks over the latent's tokens, the time's and the condition's; no condition counts as zeros."""

    def __init__(
        self, tokens: Tokens, condition_dim: int, width: int, depth: int, heads: int, apart: bool = False,
        mixing: Mixing = "attention",
    ):  # fmt: skip
        super().__init__()
        self.tokens, self.time = tokens, TimeEmbedding(WAVES, width)
        self.condition = nn.Linear(condition_dim, width, bias=False) if condition_dim else None
        self.positions = positions(tokens.shape[0] + 1 + (condition_dim > 0), width)
        self.enter = way_in(tokens, width, apart)
        self.blocks = blocks(width, depth, heads, mixing)
        self.leave = way_out(tokens, width, apart)

    def forward(self, z_BZ: Tensor, t_B: Tensor, condition_BC: Tensor | None = None) -> Tensor:
        tokens = [self.enter(self.tokens.split(z_BZ)), self.time(t_B)[:, None]]
        if self.condition is not None:
            if condition_BC is None:
                condition_BC = z_BZ.new_zeros(len(z_BZ), self.condition.in_features)
            tokens.append(self.condition(condition_BC)[:, None])
        h_BTE = self.blocks(torch.cat(tokens, dim=1) + self.positions)
        return self.tokens.join(self.leave(h_BTE[:, : self.tokens.shape[0]]))


def positions(count: int, width: int) -> nn.Parameter:
    """Return a learned vector for each place."""
    return nn.Parameter(0.02 * torch.randn(count, width))


def zero(layer: nn.Linear) -> nn.Linear:
    """Return the layer with its parameters at zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer

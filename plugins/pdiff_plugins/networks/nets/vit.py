"""A small ViT with fixed 2-D positions and mean pooling (SimpleViT; Beyer et al. 2022, arXiv 2205.01580).

Shapes: B batch, C channels, H height, W width, L patches, P values per patch, E embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SimpleViT(nn.Module):
    """Patches of `patch` x `patch` pixels, `depth` pre-norm blocks of attention and MLP."""

    def __init__(
        self, shape: tuple[int, int, int], outputs: int, *,
        patch: int, dim: int, depth: int, heads: int, head_dim: int, mlp_dim: int,
    ):  # fmt: skip
        super().__init__()
        channels, height, width = shape
        values = channels * patch * patch
        self.patch = patch
        self.embed = nn.Sequential(nn.LayerNorm(values), nn.Linear(values, dim), nn.LayerNorm(dim))
        self.register_buffer("position_LE", positions(height // patch, width // patch, dim), persistent=False)
        self.blocks = nn.Sequential(*[Block(dim, heads, head_dim, mlp_dim) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, outputs)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        grid = x_BCHW.unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))
        x_BLP = grid.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        x_BLE = self.embed(x_BLP) + self.position_LE
        return self.head(self.norm(self.blocks(x_BLE)).mean(dim=1))


class Block(nn.Module):
    """Pre-norm attention and MLP, each with its residual."""

    def __init__(self, dim: int, heads: int, head_dim: int, mlp_dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, head_dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, dim))

    def forward(self, x_BLE: Tensor) -> Tensor:
        x_BLE = x_BLE + self.attention(self.norm1(x_BLE))
        return x_BLE + self.mlp(self.norm2(x_BLE))


class Attention(nn.Module):
    """Multi-head self-attention without biases, written out so that it batches under torch.func.vmap."""

    def __init__(self, dim: int, heads: int, head_dim: int):
        super().__init__()
        self.heads, self.scale = heads, head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * heads * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, dim, bias=False)

    def forward(self, x_BLE: Tensor) -> Tensor:
        q, k, v = self.qkv(x_BLE).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (self.scale * q @ k.transpose(-1, -2)).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


def positions(height: int, width: int, dim: int) -> Tensor:
    """Return the sine-cosine code of a grid, `[height * width, dim]`; a quarter of `dim` for each of four parts."""
    y_L, x_L = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    omega = 10000.0 ** -torch.linspace(0, 1, dim // 4)
    y, x = (position.flatten()[:, None] * omega for position in (y_L, x_L))
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1)

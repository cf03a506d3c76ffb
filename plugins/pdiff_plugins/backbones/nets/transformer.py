"""A transformer autoencoder over tokens of parameters. B batch, D dim, T tokens, S numbers per token, E width.

W windows of L tokens where a sequence is too long to be read at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from pdiff_plugins.backbones.tokens import Tokens

Mixing = Literal["attention", "convolution", "none"]
"""How tokens see each other."""
REACH = 7
"""Tokens that a convolution sees."""
AT_ONCE = 256
"""Windows that are read at a time."""
PROJECTED = 30
"""Length of what the contrastive loss compares (the released SANE's)."""


def blocks(width: int, depth: int, heads: int, mixing: Mixing = "attention") -> nn.Module:
    """Return pre-norm blocks `[B, L, E] -> [B, L, E]`, hidden layers four times as wide, no dropout."""
    if mixing != "attention":
        return nn.Sequential(*(Block(width, mixing) for _ in range(depth)), nn.LayerNorm(width))
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
    for parameter in encoder.parameters():  # torch copies one layer: without this all would begin the same
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
    return encoder


class Neighbours(nn.Module):
    """A convolution over the sequence, `[B, L, E] -> [B, L, E]`."""

    def __init__(self, width: int):
        super().__init__()
        self.convolution = nn.Conv1d(width, width, REACH, padding=REACH // 2)

    def forward(self, h_BLE: Tensor) -> Tensor:
        return self.convolution(h_BLE.mT).mT


class Block(nn.Module):
    """A pre-norm block in which tokens see their neighbours, or nothing but themselves."""

    def __init__(self, width: int, mixing: Mixing):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.mix = Neighbours(width) if mixing == "convolution" else None
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h_BLE: Tensor) -> Tensor:
        if self.mix is not None:
            h_BLE = h_BLE + self.mix(self.norms[0](h_BLE))
        return h_BLE + self.perceptron(self.norms[1](h_BLE))


class Positions(nn.Module):
    """Embedding of a token's place: its index, plus its layer's and its row's side by side (as SANE)."""

    layer_T: Tensor
    row_T: Tensor

    def __init__(self, tokens: Tokens, width: int):
        super().__init__()
        self.register_buffer("layer_T", tokens.layer_T, persistent=False)
        self.register_buffer("row_T", tokens.row_T, persistent=False)
        counts = len(tokens.row_T), int(tokens.layer_T.max()) + 1, int(tokens.row_T.max()) + 1
        sizes = width, width // 2, width - width // 2
        tables = [nn.Embedding(count, size) for count, size in zip(counts, sizes, strict=True)]
        for table in tables:
            nn.init.normal_(table.weight, std=0.02)
        self.index, self.layer, self.row = tables

    def forward(self, at_BL: Tensor) -> Tensor:
        """Return `[B, L, E]` for tokens by index."""
        beside = [self.layer(self.layer_T[at_BL]), self.row(self.row_T[at_BL])]
        return self.index(at_BL) + torch.cat(beside, dim=-1)


class Windows(nn.Module):
    """Windows of L tokens over a sequence of T: each has its own content, and context on both sides (SANE's halo).

    The first and the last window have all context on one side. A sequence that is no longer than a window is one.
    """

    index_WL: Tensor
    place_T: Tensor
    """Where each token is content, among all W * L places."""

    def __init__(self, count: int, content: int, halo: int):
        super().__init__()
        length = min(count, content + 2 * halo)
        content = count if length == count else content
        first_W = (torch.arange(0, count, content) - halo).clamp(0, count - length)
        window_T, at_T = torch.arange(count) // content, torch.arange(count)
        self.register_buffer("index_WL", first_W[:, None] + torch.arange(length), persistent=False)
        self.register_buffer("place_T", window_T * length + at_T - first_W[window_T], persistent=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Return (W, L)."""
        count, length = self.index_WL.shape
        return count, length

    def split(self, h_BTE: Tensor) -> Tensor:
        """Return the windows `[B * W, L, E]`."""
        return h_BTE[:, self.index_WL].flatten(0, 1)

    def merge(self, h_BWLE: Tensor) -> Tensor:
        """Return `[B, T, E]` from the content of windows `[B * W, L, E]`: the inverse of `split`."""
        return h_BWLE.unflatten(0, (-1, self.shape[0])).flatten(1, 2)[:, self.place_T]


class TransformerAutoencoder(nn.Module):
    """Tokens, positions, blocks, a latent for each token or one for all; and back, with blocks of its own.

    `token_shape` is the latent's, (T, latent) or (1, latent).
    """

    def __init__(
        self, tokens: Tokens, *, latent: int, per: Literal["token", "network"], bounded: bool, width: int, depth: int,
        heads: int, window: int, halo: int, contrast: bool, mixing: Mixing = "attention",
    ):  # fmt: skip
        super().__init__()
        count, size = tokens.shape
        self.tokens, self.positions = tokens, Positions(tokens, width)
        self.windows = Windows(count, window if per == "token" else count, halo)
        self.token_shape = (count if per == "token" else 1, latent)
        self.latent_dim = self.token_shape[0] * latent
        self.enter, self.read = nn.Linear(size, width), blocks(width, depth, heads, mixing)
        self.narrow, self.widen = _bottleneck(count, width, latent, per, bounded)
        self.write, self.leave = blocks(width, depth, heads, mixing), nn.Linear(width, size)
        seen = latent * (self.windows.shape[1] if per == "token" else 1)
        self.project = _projection(seen) if contrast else None

    def embed(self, tokens_BLS: Tensor, at_BL: Tensor) -> Tensor:
        """Return latents `[B, L, latent]` (one per network: `[B, 1, latent]`) of the tokens at these indices."""
        return self.narrow(self.read(self.enter(tokens_BLS) + self.positions(at_BL)))

    def restore(self, z_BLZ: Tensor, at_BL: Tensor) -> Tensor:
        """Return tokens `[B, L, S]` from what `embed` gives."""
        return self.leave(self.write(self.widen(z_BLZ) + self.positions(at_BL)))

    def encode(self, x_BD: Tensor) -> Tensor:
        return self._by_windows(self.embed, self.tokens.split(x_BD)).flatten(1)

    def decode(self, z_BZ: Tensor) -> Tensor:
        return self.tokens.join(self._by_windows(self.restore, z_BZ.unflatten(1, self.token_shape)))

    def _by_windows(self, function: Callable[[Tensor, Tensor], Tensor], h_BTE: Tensor) -> Tensor:
        """Return `function` of a sequence, window by window where it is long."""
        at = self.windows.index_WL.repeat(len(h_BTE), 1)
        if self.windows.shape[0] == 1:
            return function(h_BTE, at)
        parts = zip(self.windows.split(h_BTE).split(AT_ONCE), at.split(AT_ONCE), strict=True)
        return self.windows.merge(torch.cat([function(*part) for part in parts]))


def _bottleneck(
    count: int, width: int, latent: int, per: Literal["token", "network"], bounded: bool
) -> tuple[nn.Module, nn.Module]:
    """Return the layers to the latent and from it; one per network is linear in the whole sequence."""
    bound = nn.Tanh() if bounded else nn.Identity()
    if per == "token":
        return nn.Sequential(nn.Linear(width, latent), bound), nn.Linear(latent, width)
    narrow = nn.Sequential(nn.Flatten(1), nn.Linear(count * width, latent), nn.Unflatten(1, (1, latent)), bound)
    widen = nn.Sequential(nn.Flatten(1), nn.Linear(latent, count * width), nn.Unflatten(1, (count, width)))
    return narrow, widen


def _projection(size: int) -> nn.Module:
    """Return the head before the contrastive loss."""
    first = [nn.Flatten(1), nn.Linear(size, PROJECTED), nn.LayerNorm(PROJECTED), nn.ReLU()]
    return nn.Sequential(*first, nn.Linear(PROJECTED, PROJECTED))

"""The denoiser of unit tokens: a transformer without positions, in which every block knows the step and the width.

B networks, all of one width, D parameters, K kinds of tokens, U living units of a kind, S numbers of a token, E width
of the blocks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pdiff_plugins.backbones.nets.token_denoiser import AdaptiveBlock
from pdiff_plugins.gpt.net import Waves
from pdiff_plugins.gpt.tokens import Kinds

WAVES = 16
STEP_OCTAVES, WIDTH_OCTAVES = 6.0, 2.0
"""The frequencies at which the step and the width are shown go from 1 to 2 to the power of it.

Few of the width: what is not learnt lies between what is.
"""


class UnitDenoiser(nn.Module):
    """Says what clean parameters noisy ones stand for, of networks of one width; those of dead units are 0.

    A token is a hidden unit: its weights of every entry. Units alike share their layers, so that reordering them
    reorders what comes; those that others tell apart have positions, as have all of them with `positions`.
    """

    def __init__(
        self, kinds: Kinds, mask: Callable[[int], Tensor], *, widest: int, timesteps: int, width: int, depth: int,
        heads: int, positions: bool,
    ):  # fmt: skip
        """`mask(width)` says which parameters networks of a width have, bool `[D]`."""
        super().__init__()
        self.kinds, self.widest, self.timesteps = kinds, widest, timesteps
        self.mask = functools.cache(mask)
        sizes = [kind.index_US.shape[1] for kind in kinds.kinds]
        self.enter = nn.ModuleList(nn.Linear(size, width) for size in sizes)
        self.places = nn.ParameterList(
            0.02 * torch.randn(len(kind.index_US) if kind.placed or positions else 1, width) for kind in kinds.kinds
        )
        self.step, self.size = Waves(WAVES, STEP_OCTAVES), Waves(WAVES, WIDTH_OCTAVES)
        seen = 2 * (2 * WAVES + 1)
        self.condition = nn.Sequential(nn.Linear(seen, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.blocks = nn.ModuleList(AdaptiveBlock(width, heads) for _ in range(depth))
        self.normalise = nn.LayerNorm(width)
        self.leave = nn.ModuleList(nn.Linear(width, size) for size in sizes)
        for layer in self.leave.children():
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x_BD: Tensor, t_B: Tensor, width: int) -> Tensor:
        """Return the clean parameters `[B, D]` of networks of a width; t in 0 .. T-1."""
        mask_D = self.mask(width).to(x_BD.device)
        x_BD = x_BD * mask_D
        places = [kind.index_US[mask_D[kind.index_US].any(dim=1)] for kind in self.kinds.kinds]
        tokens = [
            enter(x_BD[:, index_US]) + place_UE[: len(index_US)]
            for enter, place_UE, index_US in zip(self.enter, self.places, places, strict=True)
        ]
        size_B = torch.full_like(t_B, math.log2(width / self.widest))
        condition_BE = self.condition(torch.cat([self.step(10 * t_B / self.timesteps), self.size(size_B)], dim=1))
        h_BTE = torch.cat(tokens, dim=1)
        for block in self.blocks:
            h_BTE = block(h_BTE, condition_BE)
        h = self.normalise(h_BTE).split([len(index_US) for index_US in places], dim=1)
        columns = torch.cat([index_US.flatten() for index_US in places])
        values = torch.cat([leave(h_BUE).flatten(1) for leave, h_BUE in zip(self.leave, h, strict=True)], dim=1)
        return torch.zeros_like(x_BD).index_copy(1, columns, values.to(x_BD.dtype)) * mask_D

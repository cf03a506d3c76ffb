"""A transformer over hidden units. B networks, n units of a group, F numbers that a unit holds, T tokens, E width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdiff_plugins.backbones.nets.transformer import blocks


class UnitTransformer(nn.Module):
    """A token for each unit and one for the whole network, blocks, and one number from the means of groups.

    Tokens have no positions: those of a group differ in what they hold alone.
    """

    def __init__(self, sizes: Sequence[int], width: int, depth: int, heads: int):
        """`sizes`: the numbers that a unit of each group holds, and last the whole."""
        super().__init__()
        self.enter = nn.ModuleList(nn.Linear(size, width) for size in sizes)  # its bias is the group's embedding
        self.blocks = blocks(width, depth, heads)
        self.head = nn.Sequential(nn.Linear(len(sizes) * width, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, *held: Tensor) -> Tensor:
        """Return `[B]` from what the units of each group, and the whole, hold, `[B, n, F]` each."""
        tokens = [enter(held_BnF) for enter, held_BnF in zip(self.enter, held, strict=True)]
        h_BTE = self.blocks(torch.cat(tokens, dim=1))
        groups = h_BTE.split([token_BnE.shape[1] for token_BnE in tokens], dim=1)
        out_B1: Tensor = self.head(torch.cat([group_BnE.mean(dim=1) for group_BnE in groups], dim=1))
        return out_B1[:, 0]

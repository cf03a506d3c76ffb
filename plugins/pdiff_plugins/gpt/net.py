"""G.pt's network: a transformer that says what parameters a network with the wanted metric has.

B batch, D parameters, U tokens of a kind, S numbers of a token, T tokens, E width, C condition.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pdiff_plugins.backbones.nets.transformer import blocks
from pdiff_plugins.gpt.tokens import Kinds

SCALARS = 4
"""The step, the change that is wanted, the metric that is wanted, the metric of the start."""


class Waves(nn.Module):
    """Sines and cosines of a scalar, and itself, `[B] -> [B, 2 * count + 1]` (G.pt's scalar encoding)."""

    frequency_F: Tensor

    def __init__(self, count: int, octaves: float):
        super().__init__()
        self.register_buffer("frequency_F", 2 ** torch.linspace(0, octaves, count), persistent=False)

    def forward(self, s_B: Tensor) -> Tensor:
        y_BF = s_B[:, None] * self.frequency_F
        return torch.cat([y_BF.sin(), y_BF.cos(), s_B[:, None]], dim=1)


class PromptedTransformer(nn.Module):
    """Tokens of the noisy parameters and of the starting ones, four scalar tokens, blocks, and the way back.

    The way back begins at zero and the start is added to what it gives: at first a network stays what it is. With
    `joined`, the start's token lies beside the noisy one's numbers; else it is one more token, as in the paper, whose
    embeddings are then normalised before positions are added. A condition is one more token.
    """

    place_T: Tensor
    """Each token's row in the table of positions."""

    def __init__(
        self, kinds: Kinds, *, width: int, depth: int, heads: int, waves: int, octaves: float, joined: bool,
        condition_dim: int = 0,
    ):  # fmt: skip
        super().__init__()
        self.kinds, self.joined = kinds, joined
        sizes = [kind.index_US.shape[1] for kind in kinds.kinds]
        self.enter = nn.ModuleList(nn.Linear(size * (1 + joined), width, bias=joined) for size in sizes)
        self.enter_start = nn.ModuleList(nn.Linear(size, width, bias=False) for size in ([] if joined else sizes))
        self.waves = Waves(waves, octaves)
        self.scalars = nn.ModuleList(nn.Linear(2 * waves + 1, width) for _ in range(SCALARS))
        self.condition = nn.Linear(condition_dim, width) if condition_dim else None
        self.normalise = nn.Identity() if joined else nn.LayerNorm(width)
        place_T, count = _places(kinds, joined, SCALARS + (condition_dim > 0))
        self.register_buffer("place_T", place_T, persistent=False)
        self.positions = nn.Parameter(torch.zeros(count, width))
        self.blocks = blocks(width, depth, heads)
        outputs = [nn.Linear(width, size, bias=False) for size in sizes]
        for layer in outputs:
            nn.init.zeros_(layer.weight)
        self.leave = nn.ModuleList(outputs)

    def forward(self, x_BD: Tensor, start_BD: Tensor, scalars_B4: Tensor, condition_BC: Tensor | None = None) -> Tensor:
        """Return the clean parameters `[B, D]` that noisy ones stand for."""
        x, start = self.kinds.split(x_BD), self.kinds.split(start_BD)
        if self.joined:
            tokens = [layer(torch.cat(pair, dim=2)) for layer, *pair in zip(self.enter, x, start, strict=True)]
        else:
            tokens = [layer(tokens_BUS) for layer, tokens_BUS in zip(self.enter, x, strict=True)]
            tokens += [layer(tokens_BUS) for layer, tokens_BUS in zip(self.enter_start, start, strict=True)]
        tokens += [
            layer(self.waves(s_B))[:, None] for layer, s_B in zip(self.scalars, scalars_B4.unbind(1), strict=True)
        ]
        tokens += [] if self.condition is None else [self.condition(condition_BC)[:, None]]
        h_BTE = self.blocks(self.normalise(torch.cat(tokens, dim=1)) + self.positions[self.place_T])
        counts = [len(kind.index_US) for kind in self.kinds.kinds]
        kinds = h_BTE[:, : sum(counts)].split(counts, dim=1)
        return start_BD + self.kinds.join([layer(h_BUE) for layer, h_BUE in zip(self.leave, kinds, strict=True)])


def _places(kinds: Kinds, joined: bool, others: int) -> tuple[Tensor, int]:
    """Return each token's row in the table of positions, and how many rows there are: units alike share one."""
    places, rows = list[int](), 0
    for kind in kinds.kinds * (1 if joined else 2):
        count = len(kind.index_US)
        places += [rows + (unit if kind.placed else 0) for unit in range(count)]
        rows += count if kind.placed else 1
    return torch.tensor([*places, *range(rows, rows + others)]), rows + others

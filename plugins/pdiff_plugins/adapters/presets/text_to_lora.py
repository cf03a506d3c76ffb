"""The network of Text-to-LoRA.

B conditions, C condition, D selected parameters, P layers of one kind, L latent, R rank, V values of a row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdiff.zoo import Layout
from pdiff_plugins.adapters.factors import Pair, pairs
from pdiff_plugins.conditions.generated.modules import Conditioned, silent

WIDER = 4
"""Times which a hidden layer is as wide as what it reads."""


def kind_of(pair: Pair) -> tuple[str, int, int, int]:
    """Return what layers have in common that one head writes: name but for its numbers, rank, inputs, outputs."""
    inputs, outputs = pair.a.stop - pair.a.start, pair.b.stop - pair.b.start
    return re.sub(r"\d+", "*", pair.module), pair.rank, inputs // pair.rank, outputs // pair.rank


class LayerByLayer(Conditioned):
    """Adapters of all layers: start + scale * (what a perceptron says of each)."""

    def __init__(self, condition_dim: int, layout: Layout, heads: str, latent: int, head_width: int):
        """`heads`: see `TextToLora`. Raises UserError where the layout has no adapters."""
        super().__init__(condition_dim, layout.dim)
        found = pairs(layout, "method text_to_lora")
        self.by_kind = {kind: [pair for pair in found if kind_of(pair) == kind] for kind in map(kind_of, found)}
        depths = sorted({tuple(re.findall(r"\d+", pair.module)) for pair in found}, key=lambda d: [*map(int, d)])
        self.depth_of = {depth: number for number, depth in enumerate(depths)}
        self.heads_of, self.latent = heads, latent
        self.condition = nn.Sequential(nn.Linear(condition_dim, latent // 2), nn.LayerNorm(latent // 2))
        self.depth, self.kind = _named(len(depths), latent // 4), _named(len(self.by_kind), latent // 4)
        self.mixer = _hidden(latent, latent)
        self.first, self.second = (nn.Sequential(nn.LayerNorm(latent), *_hidden(latent, latent)) for _ in range(2))
        self.last = nn.Sequential(nn.LayerNorm(latent), *_hidden(latent, head_width))
        if heads != "layer":
            self.factor = nn.Parameter(torch.randn(len(self.by_kind), 2, latent))
            self.factor_norm = nn.LayerNorm(latent)
        if heads == "row":
            self.row = _named(max(pair.rank for pair in found), latent)
        self.heads = nn.ModuleList([silent(head_width, self._written(kind)) for kind in self.by_kind])
        written = {entry.key for pair in found for entry in (pair.a, pair.b)}
        self.rest = [entry.columns for entry in layout.entries if entry.key not in written]
        others = sum(columns.stop - columns.start for columns in self.rest)
        self.others = silent(latent // 2, others) if others else None

    def _written(self, kind: tuple[str, int, int, int]) -> int:
        """Return how many numbers a head writes at once."""
        _, rank, inputs, outputs = kind
        rows = {"layer": rank * (inputs + outputs), "factor": rank * max(inputs, outputs)}
        return rows.get(self.heads_of, max(inputs, outputs))

    def forward(self, condition_BC: Tensor) -> Tensor:
        told_BL = self.condition(self.standard(condition_BC))
        pieces = dict[int, Tensor]()
        for number, (kind, layers) in enumerate(self.by_kind.items()):
            a_BPRV, b_BPRV = self._factors(number, kind, self._told(told_BL, number, layers))
            for at, pair in enumerate(layers):
                pieces[pair.a.start], pieces[pair.b.start] = a_BPRV[:, at], b_BPRV[:, at].transpose(1, 2)
        if self.others is not None:
            sizes = [columns.stop - columns.start for columns in self.rest]
            others = self.others(told_BL).split(sizes, dim=1)
            pieces |= zip((columns.start for columns in self.rest), others, strict=True)
        said_BD = torch.cat([pieces[start].flatten(1) for start in sorted(pieces)], dim=1)
        return self.start_D + self.scale_D * said_BD

    def _told(self, told_BL: Tensor, kind: int, layers: Sequence[Pair]) -> Tensor:
        """Return what is known of each layer, `[B, P, L]`, once the first two blocks have had it."""
        at_P = torch.tensor([self.depth_of[tuple(re.findall(r"\d+", pair.module))] for pair in layers])
        depth_PL = self.depth(at_P.to(told_BL.device))
        kind_PL = self.kind(torch.full_like(at_P, kind).to(told_BL.device))
        shape = len(told_BL), len(layers), -1
        both = told_BL[:, None].expand(shape), torch.cat([depth_PL, kind_PL], dim=1).expand(shape)
        x_BPL: Tensor = self.mixer(torch.cat(both, dim=2))
        first: Tensor = self.first(x_BPL)
        return x_BPL + first

    def _factors(self, number: int, kind: tuple[str, int, int, int], x_BPL: Tensor) -> tuple[Tensor, ...]:
        """Return A and the transposed B of layers, `[B, P, R, V]` each."""
        _, rank, inputs, outputs = kind
        head = self.heads[number]
        if self.heads_of == "layer":
            said = head(self.last(x_BPL + self.second(x_BPL)))
            a, b = said.split([rank * inputs, rank * outputs], dim=2)
            return a.unflatten(2, (rank, inputs)), b.unflatten(2, (rank, outputs))
        factors = []
        for factor_L, count in zip(self.factor_norm(self.factor[number]), (inputs, outputs), strict=True):
            y = x_BPL + factor_L
            y = y + self.second(y)
            if self.heads_of == "row":
                row_RL = self.row(torch.arange(rank, device=y.device))
                y = y[:, :, None] + row_RL + self.second(row_RL)
            said = head(self.last(y))
            said = said if self.heads_of == "row" else said.unflatten(2, (rank, -1))
            factors.append(said[..., :count])
        return tuple(factors)


def _named(count: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Embedding(count, width), nn.LayerNorm(width))


def _hidden(inputs: int, outputs: int) -> nn.Sequential:
    layers = nn.Linear(inputs, WIDER * inputs), nn.SiLU(), nn.Linear(WIDER * inputs, outputs), nn.SiLU()
    return nn.Sequential(*layers)

"""Networks of tokens. B batch, L tokens, W width."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Tokens(nn.Module):
    """Embedding, a body or none, the mean over tokens, a linear layer."""

    def __init__(self, vocabulary: int, length: int, width: int, body: str, layers: int, heads: int, outputs: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.zeros(length, width)) if body == "transformer" else None
        self.body: nn.Module | None = None
        if body == "lstm":
            self.body = nn.LSTM(width, width, layers, batch_first=True)
        elif body == "transformer":
            block = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True)
            self.body = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, outputs)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        x_BLW = self.embedding(tokens_BL)
        if self.position is not None:
            x_BLW = x_BLW + self.position
        if self.body is not None:
            x_BLW = self.body(x_BLW)
        x_BLW = x_BLW[0] if isinstance(x_BLW, tuple) else x_BLW
        logits: Tensor = self.head(x_BLW.mean(dim=1))
        return logits

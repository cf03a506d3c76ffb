"""The encoder of BERT, and sentences as the mean over their tokens. B sentences, L tokens, F features, H heads.

Source: Devlin et al. 2018, arXiv 1810.04805; Reimers and Gurevych 2019, arXiv 1908.10084, section 3 (mean pooling).
Names of entries are those of the library transformers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

PADDING, EPSILON = 0, 1e-12


class Size(NamedTuple):
    """Of a BERT."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    inner: int
    positions: int


class Bert(nn.Module):
    """Rows of tokens to the mean of what the last layer says of each, padding left out."""

    def __init__(self, size: Size):
        super().__init__()
        self.embeddings = _Embeddings(size)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList([_Layer(size) for _ in range(size.layers)])

    def hidden(self, tokens_BL: Tensor, seen_BL: Tensor | None = None) -> Tensor:
        """Return what the last layer says of each token, `[B, L, F]`; `seen_BL`: tokens that others may attend to."""
        encoder: Any = self.encoder
        x_BLF: Tensor = self.embeddings(tokens_BL)
        for layer in encoder.layer:
            x_BLF = layer(x_BLF, None if seen_BL is None else seen_BL[:, None, None, :])
        return x_BLF

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Return `[B, F]`; of a row of nothing but padding, what its first token says."""
        seen_BL = (tokens_BL != PADDING) | (torch.arange(tokens_BL.shape[1], device=tokens_BL.device) == 0)
        weight_BL1 = seen_BL.unsqueeze(2).to(self.embeddings.word_embeddings.weight.dtype)
        return (self.hidden(tokens_BL, seen_BL) * weight_BL1).sum(dim=1) / weight_BL1.sum(dim=1)


class Classifier(Bert):
    """The same, and a linear layer on it."""

    def __init__(self, size: Size, outputs: int):
        super().__init__(size)
        self.head = nn.Linear(size.width, outputs)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        logits: Tensor = self.head(super().forward(tokens_BL))
        return logits


class _Embeddings(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.word_embeddings = nn.Embedding(size.vocabulary, size.width)
        self.position_embeddings = nn.Embedding(size.positions, size.width)
        self.token_type_embeddings = nn.Embedding(2, size.width)
        self.LayerNorm = nn.LayerNorm(size.width, EPSILON)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        position_LF = self.position_embeddings.weight[: tokens_BL.shape[1]]
        x_BLF = self.word_embeddings(tokens_BL) + position_LF + self.token_type_embeddings.weight[0]
        return self.LayerNorm(x_BLF)


class _Layer(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.attention = nn.Module()
        self.attention.self = _Attention(size)
        self.attention.output = _Added(size.width, size.width)
        self.intermediate = nn.Module()
        self.intermediate.dense = nn.Linear(size.width, size.inner)
        self.output = _Added(size.inner, size.width)

    def forward(self, x_BLF: Tensor, mask: Tensor | None) -> Tensor:
        attention, intermediate, output = (getattr(self, part) for part in ("attention", "intermediate", "output"))
        x_BLF = attention.output(attention.self(x_BLF, mask), x_BLF)
        return output(functional.gelu(intermediate.dense(x_BLF)), x_BLF)


class _Attention(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.heads = size.heads
        self.query, self.key, self.value = (nn.Linear(size.width, size.width) for _ in range(3))

    def forward(self, x_BLF: Tensor, mask: Tensor | None) -> Tensor:
        parts = (layer(x_BLF) for layer in (self.query, self.key, self.value))
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        # Not scaled_dot_product_attention: of torch's fused one for CPUs, vmap computes network after network.
        score_BHLL = q @ k.transpose(2, 3) * q.shape[3] ** -0.5
        if mask is not None:
            score_BHLL = score_BHLL.masked_fill(~mask, -torch.inf)
        return (score_BHLL.softmax(dim=3) @ v).transpose(1, 2).flatten(2)


class _Added(nn.Module):
    """A linear layer, what it is added to, and their norm."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(inputs, width), nn.LayerNorm(width, EPSILON)

    def forward(self, x_BLI: Tensor, to_BLF: Tensor) -> Tensor:
        return self.LayerNorm(to_BLF + self.dense(x_BLI))


@torch.no_grad()
def in_groups(bert: Bert, lists: list[list[int]], at_once: int = 64) -> Tensor:
    """Return `[N, F]` of length 1 on the CPU, of sentences of any lengths, none of them padded."""
    device = bert.embeddings.word_embeddings.weight.device
    by_length: dict[int, list[int]] = {}
    for number, one in enumerate(lists):
        by_length.setdefault(len(one), []).append(number)
    features: dict[int, Tensor] = {}
    for numbers in by_length.values():
        for index in torch.tensor(numbers).split(at_once):
            tokens_BL = torch.tensor([lists[number] for number in index.tolist()], device=device)
            mean_BF = functional.normalize(bert.hidden(tokens_BL).mean(dim=1), dim=1)
            features |= zip(index.tolist(), mean_BF.cpu(), strict=True)
    return torch.stack([features[number] for number in range(len(lists))])

"""The encoder of BERT, and sentences as the mean over their tokens. B sentences, L tokens, F features.

Source: Devlin et al. 2018, arXiv 1810.04805; Reimers and Gurevych 2019, arXiv 1908.10084, section 3 (mean pooling).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-12


def sentences(state: Mapping[str, Tensor], tokens_BL: Tensor, heads: int) -> Tensor:
    """Return `[B, F]` of length 1, of sentences of equally many tokens, by a BERT of these weights."""
    return functional.normalize(hidden(state, tokens_BL, heads).mean(dim=1), dim=1)


def hidden(state: Mapping[str, Tensor], tokens_BL: Tensor, heads: int) -> Tensor:
    """Return what the last layer says of each token, `[B, L, F]`."""
    tables = {what: state[f"embeddings.{what}_embeddings.weight"] for what in ("word", "position", "token_type")}
    x_BLF = tables["word"][tokens_BL] + tables["position"][: tokens_BL.shape[1]] + tables["token_type"][0]
    x_BLF = _norm(state, "embeddings", x_BLF)
    layers = {key.split(".")[2] for key in state if key.startswith("encoder.layer.")}
    for layer in sorted(layers, key=int):
        x_BLF = _layer(state, f"encoder.layer.{layer}", x_BLF, heads)
    return x_BLF


def _layer(state: Mapping[str, Tensor], at: str, x_BLF: Tensor, heads: int) -> Tensor:
    parts = (_linear(state, f"{at}.attention.self.{part}", x_BLF) for part in ("query", "key", "value"))
    q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in parts)
    seen_BLF = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    x_BLF = _norm(state, f"{at}.attention.output", x_BLF + _linear(state, f"{at}.attention.output.dense", seen_BLF))
    inner = functional.gelu(_linear(state, f"{at}.intermediate.dense", x_BLF))
    return _norm(state, f"{at}.output", x_BLF + _linear(state, f"{at}.output.dense", inner))


def _linear(state: Mapping[str, Tensor], at: str, x: Tensor) -> Tensor:
    return functional.linear(x, state[f"{at}.weight"], state[f"{at}.bias"])


def _norm(state: Mapping[str, Tensor], at: str, x: Tensor) -> Tensor:
    weight, bias = state[f"{at}.LayerNorm.weight"], state[f"{at}.LayerNorm.bias"]
    return functional.layer_norm(x, weight.shape, weight, bias, EPSILON)


@torch.no_grad()
def in_groups(state: Mapping[str, Tensor], lists: list[list[int]], heads: int, at_once: int = 64) -> Tensor:
    """Return `[N, F]` on the CPU, of sentences of any lengths: those of one length together, so that none is padded."""
    device = next(iter(state.values())).device
    by_length: dict[int, list[int]] = {}
    for number, one in enumerate(lists):
        by_length.setdefault(len(one), []).append(number)
    features: dict[int, Tensor] = {}
    for numbers in by_length.values():
        for index in torch.tensor(numbers).split(at_once):
            tokens_BL = torch.tensor([lists[number] for number in index.tolist()], device=device)
            features |= zip(index.tolist(), sentences(state, tokens_BL, heads).cpu(), strict=True)
    return torch.stack([features[number] for number in range(len(lists))])

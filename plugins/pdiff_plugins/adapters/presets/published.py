"""Adapters of language models as vectors: what published generators write."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pdiff.zoo import Entry, Layout


def adapters(layers: int, sides: Mapping[str, tuple[int, int]], rank: int) -> Layout:
    """Return the layout of adapters of so many layers; `sides`: module of each -> (inputs, outputs)."""
    entries, start = list[Entry](), 0
    for layer in range(layers):
        for module, (inputs, outputs) in sides.items():
            for factor, shape in (("lora_A", (rank, inputs)), ("lora_B", (outputs, rank))):
                entries.append(Entry(f"model.layers.{layer}.{module}.{factor}.weight", shape, start))
                start += math.prod(shape)
    return Layout(tuple(entries))


def mistral_7b() -> Layout:
    """Return queries and values at rank 8, as Text-to-LoRA writes them (Llama-3.1-8B has the same shapes)."""
    return adapters(32, {"self_attn.q_proj": (4096, 4096), "self_attn.v_proj": (4096, 1024)}, rank=8)


def qwen_half_billion() -> Layout:
    """Return all linear layers at rank 8, as Drag-and-Drop LLMs writes them."""
    attention = {"q": (896, 896), "k": (896, 128), "v": (896, 128), "o": (896, 896)}
    inner = {"gate": (896, 4864), "up": (896, 4864), "down": (4864, 896)}
    sides = {f"self_attn.{name}_proj": side for name, side in attention.items()}
    return adapters(24, sides | {f"mlp.{name}_proj": side for name, side in inner.items()}, rank=8)

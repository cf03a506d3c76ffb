"""Networks in few bits: `load("network.safetensors")` returns a state dict. Needs torch and safetensors alone."""

import json
import math

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Return whole numbers `[count]` of so many bits each, which lie end to end, the lowest bit first."""
    ones = (packed[:, None] >> torch.arange(8)) & 1
    return (ones.flatten()[: bits * count].view(count, bits) << torch.arange(bits)).sum(dim=1)


def load(path: str) -> dict[str, Tensor]:
    """Return a whole state dict: what was packed to the last bit, and all else as it lies there."""
    with safe_open(path, "pt") as file:
        about, state = json.loads(file.metadata()["packed"]), load_file(path)
    for key, (bits, shape, dtype, also) in about.items():
        size, mask, value = math.prod(shape), state.pop(f"{key}:mask", None), state.pop(f"{key}:values")
        kept = torch.ones(size) == 1 if mask is None else unpack(mask, 1, size) == 1
        if bits < 32:
            step = state.pop(f"{key}:steps").float().repeat_interleave(size // shape[0])[kept]
            value = (unpack(value, bits, len(step)) - 2 ** (bits - 1) + 0.5) * step
        whole = torch.zeros(size).masked_scatter(kept, value).view(shape).to(getattr(torch, dtype))
        state |= dict.fromkeys([key, *also], whole)
    return state

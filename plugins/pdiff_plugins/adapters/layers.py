"""Adapters of layers: their factors as submodules, and what they add to outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from pdiff.errors import UserError, did_you_mean

A, B = "lora_A", "lora_B"
KINDS = (nn.Linear, nn.Conv2d)


class Added:
    """A forward hook that adds scale * B(A(x)) to a layer's output."""

    def __init__(self, scale: float):
        self.scale = scale

    def __call__(self, layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        added: Tensor = layer.lora_B(layer.lora_A(inputs[0]))
        return output + added * self.scale


def chosen(model: nn.Module, targets: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Return the names of the layers to adapt. Raises UserError where a pattern matches none."""
    names = [name for name, module in model.named_modules() if isinstance(module, KINDS)]
    for pattern in targets:
        if not any(_matches(name, (pattern,)) for name in names):
            near = did_you_mean(pattern, names)
            raise UserError(f"selector.targets: {pattern!r} matches none of the network's {len(names)} layers{near}")
    found = [name for name in names if _matches(name, targets) and not _matches(name, exclude)]
    if not found:
        raise UserError("selector.exclude leaves none of the layers that selector.targets matches")
    return found


def _matches(name: str, patterns: Sequence[str]) -> bool:
    last = name.rpartition(".")[2]
    return any(fnmatchcase(name if "." in pattern else last, pattern) for pattern in patterns)


def adapted(model: nn.Module) -> list[str]:
    """Return the names of the layers that have adapters."""
    return [name for name, module in model.named_modules() if hasattr(module, A)]


def adapt(layer: nn.Module, name: str, rank: int, scale: float) -> None:
    """Add an adapter to a layer, in place: A drawn at random, B zero."""
    if isinstance(layer, nn.Conv2d):
        like: dict[str, Any] = {key: getattr(layer, key) for key in ("kernel_size", "stride", "padding", "dilation")}
        first: nn.Module = nn.Conv2d(layer.in_channels, rank, bias=False, **like)
        second: nn.Module = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
    else:
        assert isinstance(layer, nn.Linear)
        first = nn.Linear(layer.in_features, rank, bias=False)
        second = nn.Linear(rank, layer.out_features, bias=False)
    nn.init.kaiming_uniform_(first.weight, a=math.sqrt(5))  # type: ignore[arg-type]
    nn.init.zeros_(second.weight)  # type: ignore[arg-type]
    layer.add_module(A, first)
    layer.add_module(B, second)
    layer.register_forward_hook(Added(scale))


def merged(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Return a state dict without adapters, their products added to the weights."""
    plain = {key: value for key, value in state.items() if f".{A}." not in key and f".{B}." not in key}
    for key, second in state.items():
        layer, found, _ = key.partition(f".{B}.")
        if found:
            weight, first = plain[f"{layer}.weight"], state[f"{layer}.{A}.weight"]
            product = second.flatten(1) @ first.flatten(1)
            plain[f"{layer}.weight"] = weight + scale * product.reshape(weight.shape)
    return plain

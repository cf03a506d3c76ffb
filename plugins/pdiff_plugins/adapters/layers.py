"""Adapters of layers: their factors as submodules, what they add, and how they are merged into weights.

r rank, O outputs and I inputs of a layer, g groups of a convolution, N rows of an embedding, E sides of attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

A, B = "lora_A", "lora_B"
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
KINDS = (nn.Linear, *CONVOLUTIONS, nn.MultiheadAttention, nn.Embedding)
METHODS = ("forward", "_conv_forward")
WEIGHTS = (
    ("weight",), ("in_proj_weight",), ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)  # fmt: skip
"""Entries that hold a layer's weight: itself, attention's three in one, or length and direction."""


_MERGED: ContextVar[tuple[type[nn.Module], ...]] = ContextVar("merged", default=())


@contextmanager
def merged_weights(*kinds: type[nn.Module]) -> Iterator[None]:
    """Within it, layers of some kinds compute with W + scale * B A.

    That is quicker for many examples, where W x is not known already, and for convolutions of many networks at once.
    """
    token = _MERGED.set(kinds)
    try:
        yield
    finally:
        _MERGED.reset(token)


class Merging:
    """A hook before a layer: within `merged_weights` its weight is W + scale * B A until its end."""

    def __init__(self, scale: float):
        self.scale = scale

    def __call__(self, layer: Any, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(layer, _MERGED.get()):
            self.merge(layer, "weight")

    def merge(self, layer: Any, key: str) -> None:
        """Let a layer read the sum in place of its weight."""
        own, first, second = layer._parameters[key], layer.lora_A.weight, layer.lora_B.weight
        vars(layer)[key] = own + product(first, second, own.shape) * self.scale


class MergingAttention(Merging):
    """A hook before attention, which reads its weights itself: it computes with sums only."""

    def __call__(self, attention: Any, inputs: tuple[Tensor, ...]) -> None:
        for layer, key in _read_by(attention):
            self.merge(layer, key)


class Added:
    """A hook after a layer: adds scale * B(A(x)) to its output, where its weight is not the sum."""

    def __init__(self, scale: float):
        self.scale = scale

    def __call__(
        self, layer: Any, inputs: tuple[Tensor, ...], named: Mapping[str, Any], output: Tensor
    ) -> Tensor | None:
        if "weight" in layer._parameters and vars(layer).pop("weight", None) is not None:
            return None
        if output is None:  # the layer failed
            return None
        added: Tensor = layer.lora_B(layer.lora_A(*inputs, **named))
        return output + added * self.scale


class AddedAttention(Added):
    """A hook after attention, which has its weights again, also where it failed."""

    def __call__(self, attention: Any, inputs: Any, named: Any, output: Any) -> None:
        for layer, key in _read_by(attention):
            vars(layer).pop(key, None)


def _read_by(attention: Any) -> tuple[tuple[Any, str], tuple[Any, str]]:
    return (attention, "in_proj_weight"), (attention.out_proj, "weight")


class Looked(Added):
    """A forward hook of an embedding, of whose product the rows are looked up: those of B, times A."""

    def __call__(self, layer: Any, inputs: tuple[Tensor, ...], named: Mapping[str, Any], output: Tensor) -> Tensor:
        rows = F.embedding([*inputs, *named.values()][0], layer.lora_B.weight, layer.padding_idx)
        turned = layer.lora_A.weight.T.contiguous().T  # lies as PEFT's does, so that sums are the same to the last bit
        return output + rows @ turned * self.scale


def unfit(layer: nn.Module) -> str:
    """Return why a layer can have no adapter; "" where it can."""
    kind = next((kind for kind in KINDS if isinstance(layer, kind)), None)
    name = type(layer).__name__
    if kind is None:
        if name == "Conv1D":
            return "of transformers has its weight transposed, and no adapter here; leave it out"
        return "has no weight that is a matrix; adapters are for Linear, Conv1d to 3d, Embedding and MultiheadAttention"
    if any(getattr(type(layer), method, None) is not getattr(kind, method, None) for method in METHODS):
        return f"computes in a way of its own, not as torch's {kind.__name__}; leave it out"
    if isinstance(layer, nn.MultiheadAttention) and not layer._qkv_same_embed_dim:
        return "has queries, keys and values of different sizes, and no adapter in PEFT or here; leave it out"
    if isinstance(layer, nn.Embedding) and layer.max_norm is not None:
        return "changes its rows to fit max_norm as it runs; leave it out"
    parts = [layer, layer.out_proj] if isinstance(layer, nn.MultiheadAttention) else [layer]
    if any(_weights_of(part) is None for part in parts):
        return "has a weight that is computed from others; leave it out"
    return ""


def _weights_of(layer: nn.Module) -> tuple[str, ...] | None:
    """Return the entries that hold a layer's weight; None where they are of a kind that is not known."""
    own = {key for key, _ in layer.named_parameters()}
    if any(key.startswith("parametrizations.") and key not in WEIGHTS[-1] for key in own):
        return None
    found = next((keys for keys in WEIGHTS if own.issuperset(keys)), None)
    if found == WEIGHTS[-1]:
        weight_norm = "_WeightNorm"
        made: Any = layer.get_submodule("parametrizations.weight")
        return found if [type(step).__name__ for step in made] == [weight_norm] else None
    return found


def weights(layer: nn.Module) -> list[Tensor]:
    """Return the parameters that hold the weights of a layer that can have an adapter."""
    parts = [layer, layer.out_proj] if isinstance(layer, nn.MultiheadAttention) else [layer]
    return [part.get_parameter(key) for part in parts for key in _weights_of(part) or ()]


def groups(layer: Any) -> int:
    """Return how many groups a layer has that see nothing of each other."""
    return layer.groups if isinstance(layer, CONVOLUTIONS) else 1


def most(layer: Any) -> int:
    """Return the rank above which B A can be no other matrix."""
    if isinstance(layer, nn.MultiheadAttention):
        return layer.embed_dim
    rows, columns = layer.weight.shape[0], layer.weight[0].numel()
    return min(rows, columns * groups(layer))


def adapted(model: nn.Module) -> list[str]:
    """Return the names of the layers that have adapters."""
    return [name for name, module in model.named_modules() if hasattr(module, A)]


def in_training(model: nn.Module) -> nn.Module:
    """Return a network in the mode of training; where it has adapters, BatchNorm keeps to the statistics it came with.

    They are frozen as all else is, and shared by all adapters: one that learnt by a batch's would be run with others.
    """
    model.train()
    for norm in model.modules() if adapted(model) else ():
        if isinstance(norm, _BatchNorm) and norm.track_running_stats:
            norm.eval()
    return model


def scale_of(layer: nn.Module) -> float:
    """Return what a layer multiplies its adapter's product by."""
    (scale,) = (hook.scale for hook in layer._forward_hooks.values() if isinstance(hook, Added))
    return scale


def adapt(layer: Any, rank: int, scale: float) -> None:
    """Add an adapter to a layer, in place, with its device and type, so that its outputs stay what they are.

    A is drawn as PEFT does and B is zero. A grouped convolution has grouped factors, A `[r, I / g, ...]` and B
    `[O, r / g, 1, ...]`, whose product its weight holds. An embedding's B `[N, r]` is PEFT's lora_embedding_A, turned.
    """
    if isinstance(layer, nn.MultiheadAttention):
        sides, like = layer.embed_dim, _like(layer.in_proj_weight)
        _add(layer, nn.Linear(sides, rank, bias=False, **like), nn.Linear(rank, 3 * sides, bias=False, **like))
        layer.register_forward_pre_hook(MergingAttention(scale))
        layer.register_forward_hook(AddedAttention(scale), with_kwargs=True, always_call=True)
        adapt(layer.out_proj, rank, scale)
        return
    like = _like(layer.weight)
    if isinstance(layer, nn.Embedding):
        first = nn.Linear(layer.embedding_dim, rank, bias=False, **like)
        _add(layer, first, nn.Embedding(layer.num_embeddings, rank, **like))
        nn.init.normal_(first.weight)
        layer.register_forward_hook(Looked(scale), with_kwargs=True)
        return
    if isinstance(layer, nn.Linear):
        first = nn.Linear(layer.in_features, rank, bias=False, **like)
        _add(layer, first, nn.Linear(rank, layer.out_features, bias=False, **like))
    else:
        kind: Any = next(kind for kind in CONVOLUTIONS if isinstance(layer, kind))
        same = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
        first = kind(layer.in_channels, rank, bias=False, **{key: getattr(layer, key) for key in same}, **like)
        _add(layer, first, kind(rank, layer.out_channels, 1, groups=layer.groups, bias=False, **like))
    if "weight" in layer._parameters:
        layer.register_forward_pre_hook(Merging(scale))
    layer.register_forward_hook(Added(scale), with_kwargs=True, always_call=True)


def owner(layer: str, keys: Container[str]) -> str:
    """Return the layer that was named where this one, by its name, got its adapter: the attention that it is a part of.

    `keys` are those of a state dict, or of what is selected of it.
    """
    outer = layer.removesuffix("out_proj")
    return outer.removesuffix(".") if outer != layer and f"{outer}{A}.weight" in keys else layer


def _like(weight: Tensor) -> dict[str, Any]:
    return {"device": weight.device, "dtype": weight.dtype}


def _add(layer: nn.Module, first: Any, second: Any) -> None:
    nn.init.kaiming_uniform_(first.weight, a=math.sqrt(5))
    nn.init.zeros_(second.weight)
    layer.add_module(A, first)
    layer.add_module(B, second)


def merged(state: Mapping[str, Tensor], scale_of: Callable[[str], float]) -> dict[str, Tensor]:
    """Return a state dict without adapters, their products added to the weights.

    `scale_of` gives what the product of a layer is multiplied by, for the name by which it was chosen.
    """
    plain = {key: value for key, value in state.items() if key.split(".")[-2:-1] not in ([A], [B])}
    for key, first in state.items():
        name, found, _ = key.rpartition(f"{A}.weight")
        if found:
            scale = scale_of(owner(name.removesuffix("."), state))
            _merge(plain, name, first, state[f"{name}{B}.weight"], scale)
    return plain


def _merge(plain: dict[str, Tensor], name: str, first: Tensor, second: Tensor, scale: float) -> None:
    """Add a layer's scaled product to what holds its weight; `name` ends in a dot where it is not empty."""
    keys = next(found for keys in WEIGHTS if (found := [f"{name}{key}" for key in keys])[0] in plain)
    if len(keys) == 1:
        weight = plain[keys[0]]
        plain[keys[0]] = weight + scale * product(first, second, weight.shape).to(weight.dtype)
        return
    length, direction = (plain[key] for key in keys)
    along = [dim for dim in range(length.ndim) if length.shape[dim] == 1]
    weight = direction * (length / _lengths(direction, along))
    weight = weight + scale * product(first, second, weight.shape).to(weight.dtype)
    plain[keys[0]], plain[keys[1]] = _lengths(weight, along).reshape(length.shape), weight


def _lengths(weight: Tensor, along: list[int]) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=along or None, keepdim=bool(along))


def product(first: Tensor, second: Tensor, shape: torch.Size) -> Tensor:
    """Return B A in the shape of a layer's weight."""
    rank, held = first.shape[0], second.shape[1]
    if rank == held:
        return (second.flatten(1) @ first.flatten(1)).reshape(shape)
    parts = first.flatten(1).unflatten(0, (-1, held)), second.flatten(1).unflatten(0, (rank // held, -1))
    return (parts[1] @ parts[0]).reshape(shape)

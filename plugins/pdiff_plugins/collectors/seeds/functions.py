"""Layers of many networks as one layer of torch: grouped convolutions, and norms of groups.

Images of all networks lie in memory as `[B, H, W, G, C]`: the channels of all networks side by side, innermost. So a
convolution with one weight per network is one grouped convolution in torch's channels-last format, pooling and batch
normalisation are those of more channels, and layer normalisation is that of groups of channels. What vmap hands on is a
view of it, whose strides elementwise operations keep. Values are those of torch but for rounding.

Shapes: G networks, B batch, C channels, O outputs, H height, W width, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


class Joined(torch.autograd.Function):
    """A rule that vmap calls once for all networks: its tensors begin with G. It is called in no other way."""

    @staticmethod
    def forward(rule: Callable[..., Any], *arguments: Any) -> Any:
        raise AssertionError("a rule for many networks is called under vmap alone")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, rule: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
        first = []
        for argument, dim in zip(arguments, in_dims[1:], strict=True):
            if isinstance(argument, Tensor):
                shared = dim is None
                argument = argument.expand(info.batch_size, *argument.shape) if shared else argument.movedim(dim, 0)
            first.append(argument)
        result = rule(*first)
        return result, (0,) * len(result) if isinstance(result, tuple) else 0


class Linear(torch.autograd.Function):
    """x `[G, B, F]`, w `[G, O, F]`, b `[G, O]` -> `[G, B, O]`; torch's own gradient is a tenth slower."""

    @staticmethod
    def forward(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return torch.baddbmm(b[:, None], x, w.transpose(1, 2))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, w = ctx.saved_tensors
        dx = torch.bmm(gradient, w) if ctx.needs_input_grad[0] else None
        return dx, torch.bmm(gradient.transpose(1, 2), x), gradient.sum(1)


class GroupNorm(torch.autograd.Function):
    """x `[B, G * C, H, W]` normalised by example and group -> like x, and mean and 1 / std `[B, groups]`.

    Traced, torch's own gradient of it is taken apart into many operations.
    """

    @staticmethod
    def forward(x: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        return torch.native_group_norm(x, None, None, *_sizes(x), groups, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.groups = inputs[1]
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(inputs[0], *output[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Any, ...]:
        x, mean, rate = ctx.saved_tensors
        like = gradient.contiguous(memory_format=torch.channels_last)
        known = mean, rate, None, *_sizes(x), ctx.groups, [True, False, False]
        return aten.native_group_norm_backward(like, x, *known)[0], None, None


class Affine(torch.autograd.Function):
    """x `[B, K]`, weight and bias `[K]` -> x * weight + bias; as rows, whose sums over B torch takes quickly."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.addcmul(bias, x, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return gradient * weight, (gradient * x).sum(0), gradient.sum(0)


def _sizes(x: Tensor) -> tuple[int, int, int]:
    return x.shape[0], x.shape[1], x.shape[2] * x.shape[3]


def side_by_side(x: Tensor) -> Tensor:
    """Return x `[G, B, C, H, W]` as `[B, G * C, H, W]`, channels last."""
    return x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)


def apart(x: Tensor, networks: int) -> Tensor:
    """Return x `[B, G * C, ...]` as `[G, B, C, ...]`, a view."""
    return x.unflatten(1, (networks, -1)).transpose(0, 1)


def linear(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Return x w' + b of all networks."""
    return Linear.apply(x, w, b)


def convolution(
    x: Tensor, w: Tensor, b: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    """Return the convolutions of x `[G, B, C, H, W]` with w `[G, O, C / groups, h, w]`.

    Images that all networks have alike, which are a view of one network's, are convolved once with all weights.
    """
    alike, bias = x.stride(0) == 0 and groups == 1, None if b is None else b.flatten()
    images = x[0].contiguous(memory_format=torch.channels_last) if alike else side_by_side(x)
    y = torch.conv2d(images, w.flatten(0, 1), bias, stride, padding, dilation, 1 if alike else groups * len(w))
    return apart(y, len(w))


def pooling(x: Tensor, pool: Callable[..., Tensor], *options: Any) -> Tensor:
    """Return what torch's pooling makes of x `[G, B, C, H, W]`."""
    return apart(pool(side_by_side(x), *options), len(x))


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Return x `[G, B, C, H, W]` normalised over all but the batch; weight and bias are `[G, C, H, W]`."""
    normal, *_ = GroupNorm.apply(side_by_side(x), len(x), eps)
    rows = (values.permute(2, 3, 0, 1).flatten() for values in (weight, bias))
    y = Affine.apply(normal.permute(0, 2, 3, 1).flatten(1), *rows)
    return y.unflatten(1, (*x.shape[3:], len(x), -1)).permute(3, 0, 4, 1, 2)


def batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None, variance: Tensor | None,
    training: bool, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return x `[G, B, C, H, W]` normalised over B, H and W, and the mean and 1 / std of this batch, `[G, C]`."""
    w, b, m, v = (None if values is None else values.flatten() for values in (weight, bias, mean, variance))
    y, seen, rate = torch.native_batch_norm(side_by_side(x), w, b, m, v, training, 0.0, eps)
    if not training:
        return apart(y, len(x)), seen, rate
    return apart(y, len(x)), seen.view(len(x), -1), rate.view(len(x), -1)

"""Functions of many networks' layers, with gradients: written for a CPU, where torch.func.vmap alone is slow.

vmap makes of a convolution with one weight per network a grouped convolution, which a CPU does slowly for few
channels. Here the examples of a batch lie innermost in memory, so that patches are copied in long runs, and a
convolution is one matrix product per network. Values are those of torch but for rounding.

Shapes: G networks, B batch, C channels, O outputs, H height, W width, F features, K values of a patch, P positions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

PATCH_BYTES = 16 * 2**20
"""Of all patches in one layer, above which each network's own convolution is quicker: patches then leave the cache."""


class Joint(torch.autograd.Function):
    """A function of tensors that all begin with G; vmap calls it once for all networks."""

    @classmethod
    def networks_first(cls, info: Any, in_dims: Any, arguments: Sequence[Any]) -> list[Any]:
        """Return the arguments, their tensors with G first; one that all networks share is repeated, not copied."""
        first = []
        for argument, dim in zip(arguments, in_dims, strict=True):
            if isinstance(argument, Tensor):
                shared = dim is None
                argument = argument.expand(info.batch_size, *argument.shape) if shared else argument.movedim(dim, 0)
            first.append(argument)
        return first


class Linear(Joint):
    """x `[G, B, F]`, w `[G, O, F]`, b `[G, O]` -> `[G, B, O]`."""

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

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Tensor) -> tuple[Tensor, int]:
        return Linear.apply(*Joint.networks_first(info, in_dims, arguments)), 0


class Convolution(Joint):
    """x `[G, B, C, H, W]`, w `[G, O, C, h, w]`, b `[G, O]` -> `[G, B, O, H', W']`, and the patches `[G, K, P * B]`."""

    @staticmethod
    def forward(x: Tensor, w: Tensor, b: Tensor, stride: Any, padding: Any) -> tuple[Tensor, Tensor]:
        top, left = padding
        patches, size = _patches(_innermost(x), w.shape[3:], stride, (left, left, top, top))
        y = torch.baddbmm(b[:, :, None], w.flatten(2), patches)
        return y.unflatten(2, (*size, x.shape[1])).permute(0, 4, 1, 2, 3), patches

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, w, _, ctx.stride, ctx.padding = inputs
        ctx.size = x.shape[3:]
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(w, output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Any) -> tuple[Any, ...]:
        w, patches = ctx.saved_tensors
        inner = _innermost(gradient)
        flat = inner.flatten(2)
        dw = torch.bmm(flat, patches.transpose(1, 2)).view_as(w)
        dx = _input_gradient(inner, w, ctx.stride, ctx.padding, ctx.size) if ctx.needs_input_grad[0] else None
        return dx, dw, flat.sum(2), None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> tuple[Any, Any]:
        x, w, b, stride, padding = Joint.networks_first(info, in_dims, arguments)
        if patch_bytes(x, w, stride, padding) <= PATCH_BYTES:
            return Convolution.apply(x, w, b, stride, padding), (0, 0)
        # Enough work for torch's own convolution to be worth its overhead network by network.
        networks = zip(x.unbind(), w.unbind(), b.unbind(), strict=True)
        return (torch.stack([torch.conv2d(*each, stride, padding) for each in networks]), w.new_empty(len(w), 0)), (
            0,
            0,
        )


class Largest(Joint):
    """The largest of several tensors, place by place; of equal values the first alone has a gradient, as in pooling."""

    @staticmethod
    def forward(*places: Tensor) -> Tensor:
        return functools.reduce(torch.maximum, places)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(output, *inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        largest, *places = ctx.saved_tensors
        parts, rest = [], gradient
        for place in places[:-1]:
            # In place the comparison gives numbers, not booleans, which multiply slowly.
            parts.append(rest * place.clone().eq_(largest))
            rest = rest - parts[-1]
        return *parts, rest

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Tensor) -> tuple[Tensor, int]:
        return Largest.apply(*Joint.networks_first(info, in_dims, arguments)), 0


class LayerNorm(Joint):
    """x `[G, F, B]`, weight and bias `[G, F]` -> y, and normalised x, `[G, F, B]`, and 1 / standard deviation."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        centred = x - x.mean(1, keepdim=True)
        rate = ((centred * centred).mean(1, keepdim=True) + eps).rsqrt()
        normal = centred * rate
        return torch.addcmul(bias[:, :, None], normal, weight[:, :, None]), normal, rate

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(inputs[1], *output[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Any, ...]:
        weight, normal, rate = ctx.saved_tensors
        product, share = gradient * normal, -weight[:, None] / weight.shape[1]
        # The gradient of x, less its mean and its part along x: both means over features are products with the weight.
        inner = torch.addcmul(torch.bmm(share, gradient), normal, torch.bmm(share, product))
        dx = torch.addcmul(inner, gradient, weight[:, :, None]) * rate
        return dx, product.sum(2), gradient.sum(2), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> tuple[Any, Any]:
        return LayerNorm.apply(*Joint.networks_first(info, in_dims, arguments)), (0, 0, 0)


class BatchNorm(Joint):
    """x `[G, C, N]`, weight and bias `[G, C]` -> y and normalised x, like x; 1 / std, mean and variance, `[G, C]`."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        mean = x.mean(2, keepdim=True)
        centred = x - mean
        variance = (centred * centred).mean(2)
        rate = (variance + eps).rsqrt()
        normal = centred * rate[:, :, None]
        return torch.addcmul(bias[:, :, None], normal, weight[:, :, None]), normal, rate, mean[:, :, 0], variance

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(inputs[1], *output[1:3])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Any, ...]:
        weight, normal, rate = ctx.saved_tensors
        dw, db, count = (gradient * normal).sum(2), gradient.sum(2), gradient.shape[2]
        inner = torch.addcmul(gradient - db[:, :, None] / count, normal, -dw[:, :, None] / count)
        return inner * (weight * rate)[:, :, None], dw, db, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> tuple[Any, Any]:
        return BatchNorm.apply(*Joint.networks_first(info, in_dims, arguments)), (0,) * 5


def _innermost(x_GBCHW: Tensor) -> Tensor:
    """Return x `[G, C, H, W, B]`, contiguous."""
    if not x_GBCHW.is_contiguous():
        return x_GBCHW.permute(0, 2, 3, 4, 1).contiguous()
    # By way of one matrix, which torch transposes block by block.
    x = x_GBCHW.flatten(0, 1).flatten(1).t().contiguous()
    return x.view(*x_GBCHW.shape[2:], *x_GBCHW.shape[:2]).movedim(-2, 0).contiguous()


def _patches(
    x_GCHWB: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> tuple[Tensor, tuple[int, int]]:
    """Return the patches `[G, C * h * w, H' * W' * B]` and (H', W')."""
    x = F.pad(x_GCHWB, (0, 0, *padding)) if any(padding) else x_GCHWB
    views = x.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])  # [G, C, H', W', B, h, w]
    return views.permute(0, 1, 5, 6, 2, 3, 4).flatten(4).flatten(1, 3), (views.shape[2], views.shape[3])


def _input_gradient(
    gradient: Tensor, w: Tensor, stride: Sequence[int], padding: Sequence[int], size: Sequence[int]
) -> Tensor:
    """Return `[G, B, C, H, W]`: the gradient `[G, O, H', W', B]` of the output, spread, convolved with w turned."""
    ends = []
    for side, step, pad, kernel in zip(size, stride, padding, w.shape[3:], strict=True):
        begin, left_over = kernel - 1 - pad, (side + 2 * pad - kernel) % step
        ends.append((begin, begin + left_over - (step - 1)))
    if tuple(stride) != (1, 1):
        spread = F.pad(gradient[:, :, :, None, :, None], (0, 0, 0, stride[1] - 1, 0, 0, 0, stride[0] - 1))
        gradient = spread.flatten(4, 5).flatten(2, 3)
    patches, _ = _patches(gradient, w.shape[3:], (1, 1), (*ends[1], *ends[0]))
    turned = w.flip(3, 4).transpose(1, 2).flatten(2)
    return torch.bmm(turned, patches).unflatten(2, (*size, gradient.shape[-1])).permute(0, 4, 1, 2, 3)


def patch_bytes(x: Tensor, w: Tensor, stride: Sequence[int], padding: Sequence[int]) -> int:
    sizes = zip(x.shape[3:], padding, w.shape[3:], stride, strict=True)
    positions = math.prod((side + 2 * pad - kernel) // step + 1 for side, pad, kernel, step in sizes)
    return x.shape[0] * x.shape[1] * positions * math.prod(w.shape[2:]) * x.element_size()

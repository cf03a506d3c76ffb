"""Layers under torch.func.vmap on a CPU: which of torch's are computed by `joint_functions`.

Convolutions give their results with the batch innermost in memory: strides change, not shapes, and torch's elementwise
operations keep them. Pooling and normalisation follow where they find it so, and are torch's own where not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from pdiff_plugins.collectors.seeds.functions import BatchNorm, Convolution, Largest, LayerNorm, Linear

aten = torch.ops.aten


class JointLayers(TorchFunctionMode):
    """While active, under vmap, layers are computed as this module does where it can."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = JOINT[func](*args, **(kwargs or {})) if func in JOINT else NotImplemented
        return func(*args, **(kwargs or {})) if result is NotImplemented else result


def linear(x: Tensor, w: Tensor, b: Tensor | None = None) -> Any:
    """Return x w' + b for x `[B, F]`."""
    return NotImplemented if x.ndim != 2 or b is None else Linear.apply(x, w, b)


def conv2d(
    x: Tensor, w: Tensor, b: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Return the convolution of x `[B, C, H, W]`."""
    if x.ndim != 4 or isinstance(padding, str) or _pair(dilation) != (1, 1) or groups != 1:
        return NotImplemented
    b = w.new_zeros(w.shape[0]) if b is None else b
    return Convolution.apply(x, w, b, _pair(stride), _pair(padding))[0]


def max_pool2d(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """Return the largest of each window of x `[B, C, H, W]`, where windows do not overlap."""
    places = _windows(x, kernel_size, stride, padding)
    if places is None or _pair(dilation) != (1, 1) or ceil_mode or return_indices:
        return NotImplemented
    return Largest.apply(*places).permute(3, 0, 1, 2)


def avg_pool2d(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """Return the mean of each window of x `[B, C, H, W]`, where windows do not overlap."""
    places = _windows(x, kernel_size, stride, padding)
    if places is None or ceil_mode or divisor_override:
        return NotImplemented
    return (functools.reduce(torch.add, places) / len(places)).permute(3, 0, 1, 2)


def layer_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:  # fmt: skip
    """Return x `[B, ...]` normalised over all but the batch."""
    if not _batch_innermost(x) or x.ndim != 1 + len(normalized_shape) or weight is None or bias is None:
        return NotImplemented
    y_FB, *_ = LayerNorm.apply(x.movedim(0, -1).flatten(0, -2), weight.flatten(), bias.flatten(), eps)
    return y_FB.unflatten(0, x.shape[1:]).movedim(-1, 0)


def batch_norm(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    """Return x `[B, C, ...]` normalised over all but C, and move the running statistics in place."""
    if not training or not _batch_innermost(x) or weight is None or bias is None:
        return NotImplemented
    x_CN = x.movedim(0, -1).flatten(1)
    y_CN, _, _, mean, variance = BatchNorm.apply(x_CN, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        count = x_CN.shape[1]
        running_mean.mul_(1 - momentum).add_(momentum * mean)
        running_var.mul_(1 - momentum).add_(momentum * count / (count - 1) * variance)
    return y_CN.unflatten(1, (*x.shape[2:], len(x))).movedim(-1, 0)


JOINT: dict[Any, Callable[..., Any]] = {
    F.linear: linear, torch.conv2d: conv2d, F.max_pool2d: max_pool2d, F.avg_pool2d: avg_pool2d,
    F.layer_norm: layer_norm, F.batch_norm: batch_norm,
}  # fmt: skip


FEW_CLASSES = 32
"""Up to which torch's softmax over the innermost dimension takes many times as long as over another."""


def log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Any:
    """Return the logarithm of the softmax of x `[..., B, K]` over K, computed with B innermost."""
    if not _few_classes(x, dim):
        return NotImplemented
    return aten._log_softmax(_turned(x), x.ndim - 2, half_to_float).transpose(-1, -2)


def log_softmax_backward(gradient: Tensor, output: Tensor, dim: int, dtype: torch.dtype) -> Any:
    """Return the gradient of x."""
    if not _few_classes(output, dim):
        return NotImplemented
    turned = aten._log_softmax_backward_data(_turned(gradient), _turned(output), output.ndim - 2, dtype)
    return turned.transpose(-1, -2)


DECOMPOSED: dict[Any, Callable[..., Any]] = {
    aten._log_softmax.default: log_softmax,
    aten._log_softmax_backward_data.default: log_softmax_backward,
}
"""For make_fx: operations of torch that are computed by others."""


def _few_classes(x: Tensor, dim: int) -> bool:
    return x.ndim > 1 and dim % x.ndim == x.ndim - 1 and x.shape[-1] <= FEW_CLASSES


def _turned(x: Tensor) -> Tensor:
    return x.transpose(-1, -2).contiguous()


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (tuple(value) * 2)[:2]


def _batch_innermost(x: Tensor) -> bool:
    return x.ndim > 1 and x.shape[0] > 1 and x.stride(0) == 1


def _windows(x: Tensor, kernel: Any, stride: Any, padding: Any) -> list[Tensor] | None:
    """Return the values at each place of the windows, `[C, H', W', B]` in order, or None where it has to be torch's."""
    size = _pair(kernel)
    apart = stride is None or stride == [] or _pair(stride) == size
    if not _batch_innermost(x) or x.ndim != 4 or not apart or _pair(padding) != (0, 0):
        return None
    x_CHWB = x.permute(1, 2, 3, 0)
    for axis, step in ((1, size[0]), (2, size[1])):
        rest = x_CHWB.shape[axis] % step
        x_CHWB = x_CHWB.narrow(axis, 0, x_CHWB.shape[axis] - rest) if rest else x_CHWB
    rows = x_CHWB.unflatten(1, (-1, size[0])).unbind(2)
    return [place for row in rows for place in row.unflatten(2, (-1, size[1])).unbind(3)]

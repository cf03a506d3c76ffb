"""Layers under torch.func.vmap on a CPU: which of torch's are computed for all networks as one.

Images and what is computed of them lie side by side (`functions`); what has another shape, and layers that are not
listed here, are torch's own.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from pdiff_plugins.collectors.seeds import functions
from pdiff_plugins.collectors.seeds.functions import Joined

aten = torch.ops.aten


class JointLayers(TorchFunctionMode):
    """While active, under vmap, layers are computed as this module does where it can."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = JOINT[func](*args, **(kwargs or {})) if func in JOINT else NotImplemented
        return func(*args, **(kwargs or {})) if result is NotImplemented else result


def linear(x: Tensor, w: Tensor, b: Tensor | None = None) -> Any:
    """Return x w' + b for x `[B, F]`."""
    own = x.ndim == 2 and b is not None and _is_own(w) and _is_own(b)
    return Joined.apply(functions.linear, x, w, b) if own else NotImplemented


def conv2d(
    x: Tensor, w: Tensor, b: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Return the convolution of x `[B, C, H, W]`."""
    return _of_images(x, functions.convolution, w, b, stride, padding, dilation, groups)


def max_pool2d(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """Return the largest of each window of x `[B, C, H, W]`."""
    if return_indices:
        return NotImplemented
    options = kernel_size, kernel_size if stride in (None, []) else stride, padding, dilation, ceil_mode
    return _of_channels(x, functions.pooling, torch.max_pool2d, *options)


def avg_pool2d(x: Tensor, kernel_size: Any, stride: Any = None, *args: Any, **options: Any) -> Any:
    """Return the mean of each window of x `[B, C, H, W]`."""
    pool = partial(torch._C._nn.avg_pool2d, **options)
    return _of_channels(x, functions.pooling, pool, kernel_size, stride or kernel_size, *args)


def adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Any:
    """Return the mean of so many windows of x `[B, C, H, W]`."""
    if output_size not in (1, (1, 1)) or x.ndim != 4:
        return NotImplemented
    return avg_pool2d(x, tuple(x.shape[-2:]))


def layer_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:  # fmt: skip
    """Return x `[B, C, H, W]` normalised over all but the batch."""
    if len(normalized_shape) != 3 or weight is None or bias is None:
        return NotImplemented
    return _of_channels(x, functions.layer_norm, weight, bias, eps)


def batch_norm(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    """Return x `[B, C, H, W]` normalised over all but C, and move the running statistics in place."""
    count = x.shape[0] * math.prod(x.shape[2:])
    if training and count == 1:  # torch says why that cannot be
        return NotImplemented
    known = (None, None) if training else (running_mean, running_var)
    result = _of_channels(x, functions.batch_norm, weight, bias, *known, training, eps)
    if result is NotImplemented:
        return NotImplemented
    y, mean, rate = result
    if training and running_mean is not None and running_var is not None:
        variance = (rate.detach().square().reciprocal() - eps) * (count / (count - 1))
        running_mean.mul_(1 - momentum).add_(momentum * mean.detach())
        running_var.mul_(1 - momentum).add_(momentum * variance)
    return y


def _of_images(x: Tensor, rule: Callable[..., Any], *arguments: Any) -> Any:
    """Return what the rule gives of all networks' images, where x or a weight is a network's own."""
    own = x.ndim == 4 and any(_is_own(value) for value in (x, *arguments) if isinstance(value, Tensor))
    return Joined.apply(rule, x, *arguments) if own else NotImplemented


def _is_own(value: Tensor) -> bool:
    """Return whether networks differ in it."""
    return bool(torch._C._functorch.is_batchedtensor(value))


def _of_channels(x: Tensor, rule: Callable[..., Any], *arguments: Any) -> Any:
    """Return it where x lies side by side already, as convolutions leave it; else that would not be worth its copy."""
    lies = x.ndim == 4 and x.shape[1] > 1 and x.stride(1) == 1
    return _of_images(x, rule, *arguments) if lies else NotImplemented


JOINT: dict[Any, Callable[..., Any]] = {
    F.linear: linear, torch.conv2d: conv2d, F.max_pool2d: max_pool2d, F.avg_pool2d: avg_pool2d,
    F.adaptive_avg_pool2d: adaptive_avg_pool2d, F.layer_norm: layer_norm, F.batch_norm: batch_norm,
}  # fmt: skip


@contextlib.contextmanager
def plain_means(model: nn.Module) -> Iterator[None]:
    """Within it, BatchNorm with `momentum=None` counts batches without leaving tensors, which vmap cannot take."""
    norms = [module for module in model.modules() if type(module).forward is _BatchNorm.forward]
    norms = [norm for norm in norms if norm.momentum is None and norm.track_running_stats and norm.training]
    for norm in norms:
        norm.forward = partial(_plain_mean, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _plain_mean(norm: Any, x: Tensor) -> Tensor:
    norm._check_input_dim(x)
    seen = norm.running_mean.clone(), norm.running_var.clone()  # with momentum 1: those of this batch
    y = F.batch_norm(x, *seen, norm.weight, norm.bias, True, 1.0, norm.eps)
    count = norm.num_batches_tracked.add_(1)
    for running, batch in zip((norm.running_mean, norm.running_var), seen, strict=True):
        running.add_((batch - running) / count)
    return y


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

"""A chain of convolutions, each normalised over the batch and activated, with its backward pass written out.

It computes what the layers compute one by one; what differs is what that costs:
- one tensor per layer is kept for the backward pass (the convolution's output), not three, and where even these are
  large only one per chain: the others are computed again, with the statistics of the batch that are known already;
- large tensors are worked on in parts of the batch, so that what lies in between stays small.

Names and memory format are conv_layer's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pdiff_plugins.backbones.nets.conv_layer import Layer, last

aten = torch.ops.aten
PART = {"cpu": 8 * 2**20, "cuda": 256 * 2**20}
"""Bytes of a tensor worked on at a time, on a CPU what its caches hold; fixed, because rounding depends on it."""
KEPT = 2 * 2**30
"""Bytes of one tensor per layer above which a chain keeps a single one."""
SUMMED = 2**16
"""Numbers per channel that torch may sum up at a time: on a CPU it does so in a float32, which loses small ones."""


def run(chain: list[Layer], x: Tensor, training: bool) -> Tensor:
    """Return the chain's output for `x`, in the dtype of autocast. All layers but the last need a norm.

    In training it takes the statistics of the batch, updates the running ones as nn.BatchNorm1d does, and can be
    differentiated once; else it takes the running ones.
    """
    kind = x.device.type
    x = last(x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x)
    if training:
        return _Chain.apply(x, chain, *(p for layer in chain for p in layer.parameters()))
    rows = max(1, PART[kind] * len(x) // max(_sizes(chain, x)))
    return torch.cat([_evaluated(chain, part) for part in x.split(rows)])


def _evaluated(chain: list[Layer], h: Tensor) -> Tensor:
    for layer in chain:
        h = layer.convolve(h)
        h = layer.activate(h, *layer.running) if layer.norm else h
    return h


class _Chain(torch.autograd.Function):
    """The chain in training."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, chain: list[Layer], *parameters: Tensor) -> Tensor:
        ctx.step = _Step(chain, x)
        return ctx.step.forward()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        g, gradients = ctx.step.backward(last(g), ctx.needs_input_grad[0])
        return g, None, *gradients


class _Step:
    """A forward and a backward pass.

    `outputs` are those of convolutions, by index, as far as they are kept; `lean` where that is not all of them.
    """

    def __init__(self, chain: list[Layer], x: Tensor):
        self.chain, self.x, self.outputs = chain, x, dict[int, Tensor]()
        self.statistics: list[tuple[Tensor, Tensor]] = []
        self.keep = _keep(chain, x)
        self.lean = len(self.keep) == 1

    def forward(self) -> Tensor:
        c = self.x
        for index, layer in enumerate(self.chain):
            c = self._convolve(index, c)
            if layer.norm:
                self.statistics.append(_statistics(c, layer.running[0].dtype))
                _update(layer.norm, *self.statistics[index], c.numel() // c.shape[1])
            if index in self.keep:
                self.outputs[index] = c
        return self._activate(index, c) if layer.norm else c

    def backward(self, g: Tensor, wanted: bool) -> tuple[Tensor | None, list[Tensor]]:
        """Return the gradient at the input, where it is wanted, and those of the parameters in their order."""
        end, gradients = len(self.chain) - 1, list[Tensor]()
        if self.chain[end].norm:
            behind, g = g, torch.empty_like(g)
            self.chain[end].activate_backward(behind, self._activate(end, self._output(end)), out=g)
        for index in range(end, -1, -1):
            affine: list[Tensor] = []
            if self.chain[index].norm:
                g, affine = self._normalise_backward(index, g)
            g, weights = self._convolve_backward(index, g, wanted or index > 0)
            gradients[:0] = *weights, *affine
        return g, gradients

    def _output(self, index: int) -> Tensor:
        """Return what convolution `index` gave (-1: the input), computed again where it was not kept."""
        for later in range(max(self.outputs, default=-1) + 1, index + 1):
            self.outputs[later] = self._convolve(later, self._output(later - 1))
            if later == 1:
                del self.outputs[0]  # large, and the quickest of all to compute once more
        return self.outputs[index] if index >= 0 else self.x

    def _activate(self, index: int, c: Tensor) -> Tensor:
        """Return what the next convolution reads, for rows `c` of what convolution `index` (-1: the input) gave."""
        return self.chain[index].activate(c, *self.statistics[index]) if index >= 0 else c

    def _convolve(self, index: int, c: Tensor) -> Tensor:
        """Return what convolution `index` makes of what the one before gave, `c`."""
        layer = self.chain[index]
        out = _empty(c, layer.shape(c.shape))
        parts = list(_parts(c, out))
        if len(parts) == 1:
            return layer.convolve(self._activate(index - 1, c))
        for part in parts:
            out[part] = layer.convolve(self._activate(index - 1, c[part]))
        return out

    def _convolve_backward(self, index: int, g: Tensor, wanted: bool) -> tuple[Any, list[Tensor]]:
        """Return the gradient at the output of the layer before (before its activation), and of weight and bias."""
        layer, c = self.chain[index], self._output(index - 1)
        sums = [torch.zeros_like(parameter) for parameter in layer.convolution.parameters()]

        def rows(part: slice) -> tuple[Tensor | None, Tensor, Tensor]:
            h = self._activate(index - 1, c[part])
            gradient, weight, bias = layer.convolve_backward(g[part], h, wanted)
            if index and gradient is not None:
                self.chain[index - 1].activate_backward(gradient, h, out=gradient)
            return gradient, weight, bias

        # From one channel the gradient is computed twice sooner than stored.
        again = self.lean and index > 0 and layer.convolution.out_channels == 1
        parts, out = list(_parts(c, g)), None
        for part in parts:
            gradient, *more = rows(part)
            for total, value in zip(sums, more, strict=True):
                total += value
            if len(parts) == 1:
                out = gradient
            elif gradient is not None and not again:
                out = torch.empty_like(c) if out is None else out
                out[part] = gradient
        return _Again(rows) if again else out, sums

    def _normalise_backward(self, index: int, g: Any) -> tuple[Tensor, list[Tensor]]:
        """Return the gradients in front of the norm, and of its weight and bias, from that behind it.

        The first is rate weight (g - mean(g) - n mean(g n)), n what is normalised (Ioffe & Szegedy 2015, section 3);
        it takes the place of the convolution's output.
        """
        norm, c, (mean_C, variance_C) = self.chain[index].batch_norm, self._output(index), self.statistics[index]
        rate_C, sums = (variance_C + norm.eps).rsqrt(), [torch.zeros_like(p) for p in norm.parameters()]
        for part in _parts(c):
            _, *affine = aten.native_batch_norm_backward(
                g[part], c[part], norm.weight, None, None, mean_C, rate_C, True, norm.eps, [False, True, True]
            )
            for total, value in zip(sums, affine, strict=True):
                total += value
        scale_C, count = norm.weight * rate_C, c.numel() // c.shape[1]
        slope_C = -scale_C * rate_C * sums[0] / count
        offset_C = -scale_C * sums[1] / count - slope_C * mean_C
        for part in _parts(c):
            line = _line(c[part], slope_C, offset_C)
            torch.add(_line(g[part], scale_C, torch.zeros_like(scale_C)), line, out=c[part])
        return self.outputs.pop(index), sums


class _Again:
    """A tensor whose rows, the first of what `rows` gives, are computed whenever they are read."""

    def __init__(self, rows: Callable[[slice], tuple[Tensor | None, Tensor, Tensor]]):
        self.rows = rows

    def __getitem__(self, part: slice) -> Tensor:
        gradient, *_ = self.rows(part)
        assert gradient is not None
        return gradient


def _keep(chain: list[Layer], x: Tensor) -> set[int]:
    """Return the convolutions whose output is kept: all, or the one that parts the chain most evenly."""
    sizes = [size for size, layer in zip(_sizes(chain, x), chain, strict=True) if layer.norm]
    if sum(sizes) <= KEPT:
        return set(range(len(sizes)))
    return {min(range(1, len(sizes)), key=lambda index: max(sum(sizes[1 : index + 1]), sum(sizes[index:])), default=0)}


def _sizes(chain: list[Layer], x: Tensor) -> list[int]:
    """Return the bytes of each convolution's output."""
    sizes, shape = [], x.shape
    for layer in chain:
        shape = layer.shape(shape)
        sizes.append(shape.numel() * x.element_size())
    return sizes


def _empty(like: Tensor, shape: torch.Size) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _parts(*tensors: Tensor) -> Iterator[slice]:
    """Yield slices of the batch of which no tensor's has more than PART bytes, or that are one row."""
    count = len(tensors[0])
    rows = max(1, PART[tensors[0].device.type] * count // max(tensor.nbytes for tensor in tensors))
    return (slice(start, start + rows) for start in range(0, count, rows))


def _statistics(c: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over batch and length, `[C]` each."""
    parts = c.split(max(1, SUMMED // c.shape[3]))
    shares = [len(part) / len(c) for part in parts]
    means, variances = zip(*[torch.batch_norm_update_stats(part, None, None, 0.0) for part in parts], strict=True)
    mean_C = sum(share * mean.double() for share, mean in zip(shares, means, strict=True))
    spread = zip(shares, means, variances, strict=True)
    variance_C = sum(share * (variance + (mean - mean_C).square()) for share, mean, variance in spread)
    return mean_C.to(dtype), variance_C.to(dtype)


def _update(norm: nn.BatchNorm1d, mean_C: Tensor, variance_C: Tensor, count: int) -> None:
    """Move the running statistics as nn.BatchNorm1d does."""
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    assert norm.running_mean is not None and norm.running_var is not None
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean_C, norm.momentum)
    norm.running_var.lerp_(variance_C * (count / max(count - 1, 1)), norm.momentum)


def _line(x: Tensor, slope_C: Tensor, offset_C: Tensor) -> Tensor:
    """Return slope x + offset in one pass over `x`."""
    return F.batch_norm(x, torch.zeros_like(slope_C), torch.ones_like(slope_C), slope_C, offset_C, False, 0.0, 0.0)

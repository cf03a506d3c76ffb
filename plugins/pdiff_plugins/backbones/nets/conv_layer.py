"""A layer of a chain: convolution, normalisation over the batch, activation, with the backward pass of each.

Tensors are `[B, C, 1, L]` (batch, channels, length) with their channels last in memory, which is what convolutions work
on; torch has no such memory format in three dimensions. `c` is a convolution's output, `h` what is normalised and
activated, `g` a gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

aten = torch.ops.aten
Pair = tuple[int, int]


@dataclass(frozen=True)
class Layer:
    """A convolution, and the norm and activation behind it (or neither)."""

    convolution: nn.Conv1d | nn.ConvTranspose1d
    norm: nn.BatchNorm1d | None = None
    activation: nn.ELU | nn.LeakyReLU | None = None

    def parameters(self) -> list[Tensor]:
        return [*self.convolution.parameters(), *(self.norm.parameters() if self.norm else ())]

    @property
    def batch_norm(self) -> nn.BatchNorm1d:
        """The norm, of a layer that has one."""
        assert self.norm is not None
        return self.norm

    @property
    def running(self) -> tuple[Tensor, Tensor]:
        """Mean and variance that the norm keeps, `[C]` each."""
        norm = self.batch_norm
        assert norm.running_mean is not None and norm.running_var is not None
        return norm.running_mean, norm.running_var

    def shape(self, before: torch.Size) -> torch.Size:
        """Return the shape of what the convolution makes of that shape."""
        (_, stride), (_, padding), _, transposed, (_, more), _ = self._geometry
        reach = self.convolution.kernel_size[0] - 2 * padding
        length = (before[3] - 1) * stride + reach + more if transposed else (before[3] - reach) // stride + 1
        return torch.Size((before[0], self.convolution.out_channels, 1, length))

    def convolve(self, h: Tensor) -> Tensor:
        bias = self.convolution.bias
        assert bias is not None
        return last(torch.convolution(h, self._weight(h.dtype), bias.to(h.dtype), *self._geometry))

    def convolve_backward(self, g: Tensor, h: Tensor, wanted: bool) -> tuple[Tensor | None, Tensor, Tensor]:
        """Return the gradients of `h` (where it is wanted), weight and bias."""
        gradient, weight, bias = aten.convolution_backward(
            g, h, self._weight(g.dtype), [self.convolution.out_channels], *self._geometry, [wanted, True, True]
        )
        return last(gradient) if wanted else None, weight[:, :, 0], bias

    def _weight(self, dtype: torch.dtype) -> Tensor:
        return self.convolution.weight.to(dtype)[:, :, None]

    @property
    def _geometry(self) -> tuple[Pair, Pair, Pair, bool, Pair, int]:
        """What torch.convolution takes after the bias, in two dimensions."""
        line = self.convolution
        assert not isinstance(line.padding, str)
        transposed = isinstance(line, nn.ConvTranspose1d)
        return (1, line.stride[0]), (0, line.padding[0]), (1, 1), transposed, (0, line.output_padding[0]), 1

    @property
    def _slope(self) -> float:
        """Below zero, of the activation that is no ELU."""
        assert isinstance(self.activation, nn.LeakyReLU)
        return self.activation.negative_slope

    def activate(self, c: Tensor, mean_C: Tensor, variance_C: Tensor) -> Tensor:
        norm = self.batch_norm
        h = F.batch_norm(c, mean_C, variance_C, norm.weight, norm.bias, False, 0.0, norm.eps)
        return F.elu_(h) if isinstance(self.activation, nn.ELU) else F.leaky_relu_(h, self._slope)

    def activate_backward(self, g: Tensor, h: Tensor, out: Tensor) -> None:
        """Write the gradient in front of the activation to `out`, from `g` behind it, where `h` is."""
        if isinstance(self.activation, nn.ELU):
            aten.elu_backward(g, 1.0, 1.0, 1.0, True, h, grad_input=out)
        else:
            aten.leaky_relu_backward(g, h, self._slope, True, grad_input=out)


def layers(modules: Iterable[nn.Module]) -> list[Layer]:
    """Return modules, each a convolution or a sequence of convolution, norm and activation, as layers."""
    return [_layer(module) for module in modules]


def _layer(module: nn.Module) -> Layer:
    parts: list[Any] = [*module] if isinstance(module, nn.Sequential) else [module]
    return Layer(*parts)


def last(tensor: Tensor) -> Tensor:
    """Return it with its channels last in memory."""
    return tensor.contiguous(memory_format=torch.channels_last)

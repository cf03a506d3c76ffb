"""A layer of a chain: convolution, normalisation over the batch, activation, with the backward pass of each.

Tensors are `[B, C, 1, L]` (batch, channels, length) with their channels last in memory, which is what convolutions work
on; torch has no such memory format in three dimensions. `c` is a convolution's output, `h` what is normalised and
activated, `g` a gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

aten = torch.ops.aten


@dataclass(frozen=True)
class Layer:
    """A convolution, and the norm and activation behind it (or neither)."""

    convolution: nn.Conv1d | nn.ConvTranspose1d
    norm: nn.BatchNorm1d | None = None
    activation: nn.ELU | nn.LeakyReLU | None = None

    def parameters(self) -> list[Tensor]:
        return [*self.convolution.parameters(), *(self.norm.parameters() if self.norm else ())]

    def shape(self, before: torch.Size) -> torch.Size:
        """Return the shape of what the convolution makes of that shape."""
        (_, stride), (_, padding), _, transposed, (_, more), _ = self._geometry
        reach = self.convolution.kernel_size[0] - 2 * padding
        length = (before[3] - 1) * stride + reach + more if transposed else (before[3] - reach) // stride + 1
        return torch.Size((before[0], self.convolution.out_channels, 1, length))

    def convolve(self, h: Tensor) -> Tensor:
        return last(torch.convolution(h, self._weight(h.dtype), self.convolution.bias.to(h.dtype), *self._geometry))

    def convolve_backward(self, g: Tensor, h: Tensor, wanted: bool) -> tuple[Tensor | None, Tensor, Tensor]:
        """Return the gradients of `h` (where it is wanted), weight and bias."""
        own, weight, bias = aten.convolution_backward(
            g, h, self._weight(g.dtype), [self.convolution.out_channels], *self._geometry, [wanted, True, True]
        )
        return last(own) if wanted else None, weight[:, :, 0], bias

    def _weight(self, dtype: torch.dtype) -> Tensor:
        return self.convolution.weight.to(dtype)[:, :, None]

    @property
    def _geometry(self) -> tuple[tuple[int, int] | bool | int, ...]:
        """What torch.convolution takes after the bias, in two dimensions."""
        own = self.convolution
        transposed = isinstance(own, nn.ConvTranspose1d)
        return (1, *own.stride), (0, *own.padding), (1, 1), transposed, (0, *own.output_padding), 1

    def activate(self, c: Tensor, mean_C: Tensor, variance_C: Tensor) -> Tensor:
        h = F.batch_norm(c, mean_C, variance_C, self.norm.weight, self.norm.bias, False, 0.0, self.norm.eps)
        return F.elu_(h) if isinstance(self.activation, nn.ELU) else F.leaky_relu_(h, self.activation.negative_slope)

    def activate_backward(self, g: Tensor, h: Tensor, out: Tensor) -> None:
        """Write the gradient in front of the activation to `out`, from `g` behind it, where `h` is."""
        if isinstance(self.activation, nn.ELU):
            aten.elu_backward(g, 1.0, 1.0, 1.0, True, h, grad_input=out)
        else:
            aten.leaky_relu_backward(g, h, self.activation.negative_slope, True, grad_input=out)


def layers(modules: Iterable[nn.Module]) -> list[Layer]:
    """Return modules, each a convolution or a sequence of convolution, norm and activation, as layers."""
    return [Layer(*module) if isinstance(module, nn.Sequential) else Layer(module) for module in modules]


def last(tensor: Tensor) -> Tensor:
    """Return it with its channels last in memory."""
    return tensor.contiguous(memory_format=torch.channels_last)

"""The network of Drag-and-Drop LLMs: prompts to the tokens of adapters, by convolutions along two axes of three.

B batch, N prompts or tokens, H and W sides of what each is.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from pdiff.zoo import Layout
from pdiff_plugins.adapters.factors import pairs

Shape = tuple[int, int, int]
"""N, H, W."""
QWEN_HALF_BILLION: tuple[Shape, ...] = (
    (128, 384, 384), (128, 200, 300), (128, 100, 256), (256, 50, 200), (512, 50, 200), (1024, 25, 200), (1024, 10, 200),
    (2048, 10, 200), (4296, 10, 130),
)  # fmt: skip
"""From 128 prompts of 384 tokens, 384 numbers each (all-MiniLM-L12-v2), to the adapters of Qwen2.5-0.5B."""
KERNEL = 9


class DragAndDrop(nn.Module):
    """A stack of such convolutions, each from one shape to the next; what keeps its shape is added to.

    Source: Liang et al. 2025, Drag-and-Drop LLMs, arXiv 2506.16406, section 2.5; its code (60e2192) for sizes, the mean
    of both ways, the tanh and the convolution along the tokens.
    """

    def __init__(self, shapes: tuple[Shape, ...] = QWEN_HALF_BILLION, kernel: int = KERNEL):
        super().__init__()
        self.blocks = nn.ModuleList([_Block(one, other, kernel) for one, other in itertools.pairwise(shapes)])

    def forward(self, prompts_BNHW: Tensor) -> Tensor:
        """Return tokens `[B, N, H, W]` of the last shape."""
        x = prompts_BNHW
        for block in self.blocks:
            y = block(x)
            x = x + y if y.shape == x.shape else y
        return x


class _Block(nn.Module):
    def __init__(self, before: Shape, after: Shape, kernel: int):
        super().__init__()
        (n, h, w), (new_n, new_h, new_w) = before, after
        self.norm = nn.LayerNorm([h, w])
        self.first_w, self.then_w = (_convolution(w, new_w, kernel, bias=False) for _ in range(2))
        self.then_h, self.first_h = (_convolution(h, new_h, kernel, bias=False) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(new_h, new_w))
        self.tokens = _convolution(n, new_n, kernel, bias=True)

    def forward(self, x_BNHW: Tensor) -> Tensor:
        x = self.norm(x_BNHW)
        one = _along(self.then_h, _along(self.first_w, x, 3), 2)
        other = _along(self.then_w, _along(self.first_h, x, 2), 3).tanh()
        y_BNHW: Tensor = self.tokens((one + other + self.bias) / 3)
        return y_BNHW


def _convolution(inputs: int, outputs: int, kernel: int, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding="same", bias=bias)


def _along(layer: nn.Module, x: Tensor, dim: int) -> Tensor:
    """Return a convolution over the other two dimensions, with this one as channels."""
    y: Tensor = layer(x.transpose(1, dim))
    return y.transpose(1, dim)


def tokens_of(layout: Layout, width: int) -> int:
    """Return how many tokens the factors of all adapters are: pieces of so many of a layer's inputs, or outputs."""
    sides = [entry for pair in pairs(layout) for entry in (pair.a, pair.b)]
    return sum(math.ceil(max(entry.shape) / width) for entry in sides)

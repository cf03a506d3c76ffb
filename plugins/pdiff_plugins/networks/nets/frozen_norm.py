"""FrozenNorm: a normalisation of fixed statistics, as pretrained detectors have it, whose weight and bias can learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FrozenNorm(nn.Module):
    """torchvision's FrozenBatchNorm2d bit for bit, under the same keys, with parameters where that has buffers."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        scale_C = self.weight * (self.running_var + self.eps).rsqrt()
        shift_C = self.bias - self.running_mean * scale_C
        return x_BCHW * scale_C[:, None, None] + shift_C[:, None, None]

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"

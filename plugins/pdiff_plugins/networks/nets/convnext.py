"""ConvNeXt at any size (Liu et al. 2022, arXiv 2201.03545). Shapes: B batch, C channels, H height, W width."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvNeXt(nn.Module):
    """A patchify stem, stages of depthwise blocks with a 2x2 strided conv between them, mean pooling."""

    def __init__(self, channels: int, outputs: int, *, stem: int, depths: tuple[int, ...], dims: tuple[int, ...]):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, dims[0], stem, stride=stem), ChannelNorm(dims[0]))
        stages, before = [], dims[0]
        for index, (depth, dim) in enumerate(zip(depths, dims, strict=True)):
            down = [ChannelNorm(before), nn.Conv2d(before, dim, 2, stride=2)] if index else []
            stages.append(nn.Sequential(*down, *[Block(dim) for _ in range(depth)]))
            before = dim
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(before, eps=1e-6)
        self.head = nn.Linear(before, outputs)
        self.apply(_initialise)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.norm(self.stages(self.stem(x_BCHW)).mean(dim=(2, 3))))


class Block(nn.Module):
    """x + gamma * MLP(LayerNorm(depthwise 7x7 conv(x)))."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.gamma = nn.Parameter(torch.full((dim,), 1e-6))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BHWC = self.gamma * self.mlp(self.norm(self.conv(x_BCHW).permute(0, 2, 3, 1)))
        return x_BCHW + y_BHWC.permute(0, 3, 1, 2)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of `[B, C, H, W]`."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-6)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

"""The UNet of denoising diffusion for images, its entries named as in the layout of google/ddpm-cifar10-32.

Ho et al. 2020, arXiv 2006.11239, appendix B. Shapes: B batch, C channels, H x W image, T time embedding.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-6
"""Of every group norm."""
LONGEST = 10_000.0
"""Longest wavelength of the time embedding is 2 pi times this many steps."""


class UNet(nn.Module):
    """From a noisy image and its step to the noise in it.

    Args:
        channels: of the image.
        widths: channels of each level, the first a multiple of 4; each level but the last halves the sides.
        layers: residual blocks per level on the way down; one more on the way up.
        attention: levels, counted from 0, whose blocks are followed by self-attention (the middle always has it).
        groups: of every group norm; divides all widths.
    """

    def __init__(self, channels: int, *, widths: Sequence[int], layers: int, attention: Sequence[int], groups: int):
        super().__init__()
        first, last, time = widths[0], widths[-1], 4 * widths[0]
        levels = range(len(widths))
        self.conv_in = nn.Conv2d(channels, first, 3, padding=1)
        self.time_embedding = TimeEmbedding(first, time)
        ins = [first, *widths[:-1]]
        self.down_blocks = nn.ModuleList(
            Down(ins[i], widths[i], time, layers, groups, i in attention, halve=i != levels[-1]) for i in levels
        )
        self.mid_block = Middle(last, time, groups)
        skips = [first, *(width for i in levels for width in [widths[i]] * (layers + (i != levels[-1])))]
        ups, before = [], last
        for i in reversed(levels):
            joined = [skips.pop() for _ in range(layers + 1)]
            ups.append(Up(before, joined, widths[i], time, groups, i in attention, double=i > 0))
            before = widths[i]
        self.up_blocks = nn.ModuleList(ups)
        self.conv_norm_out = nn.GroupNorm(groups, first, EPSILON)
        self.conv_out = nn.Conv2d(first, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor, t_B: Tensor | float = 0.0) -> Tensor:
        """Return the noise in `x_BCHW` at the steps `t_B` (or at one step for all)."""
        time_BT = self.time_embedding(torch.as_tensor(t_B, device=x_BCHW.device).expand(len(x_BCHW)), x_BCHW.dtype)
        h = self.conv_in(x_BCHW)
        skips = [h]
        for block in self.down_blocks:
            h = block(h, time_BT, skips)
        h = self.mid_block(h, time_BT)
        for block in self.up_blocks:
            h = block(h, time_BT, skips)
        return self.conv_out(F.silu(self.conv_norm_out(h)))


class TimeEmbedding(nn.Module):
    """Sines and cosines of the step (frequencies from 1 down to 1 / LONGEST), then a perceptron."""

    def __init__(self, width: int, time: int):
        super().__init__()
        self.waves = width // 2
        self.linear_1, self.linear_2 = nn.Linear(width, time), nn.Linear(time, time)

    def forward(self, t_B: Tensor, dtype: torch.dtype) -> Tensor:
        place = torch.arange(self.waves, device=t_B.device, dtype=torch.float32)
        angle = t_B.float()[:, None] * torch.exp(-math.log(LONGEST) / (self.waves - 1) * place)
        waves = torch.cat([angle.sin(), angle.cos()], dim=1).to(dtype)
        return self.linear_2(F.silu(self.linear_1(waves)))


class Residual(nn.Module):
    """Two convolutions with the step added in between, beside a shortcut."""

    def __init__(self, ins: int, outs: int, time: int, groups: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, ins, EPSILON), nn.Conv2d(ins, outs, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, outs)
        self.norm2, self.conv2 = nn.GroupNorm(groups, outs, EPSILON), nn.Conv2d(outs, outs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(ins, outs, 1) if ins != outs else nn.Identity()

    def forward(self, x: Tensor, time_BT: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time_emb_proj(F.silu(time_BT))[:, :, None, None]
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    """Self-attention of one head over all places of an image, beside a shortcut."""

    def __init__(self, width: int, groups: int):
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, width, EPSILON)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        places = self.group_norm(x).flatten(2).mT
        query, key, value = (linear(places) for linear in (self.to_q, self.to_k, self.to_v))
        # Written out, because torch's fused attention cannot be run for several networks at a time by vmap.
        weight = (query @ key.mT / math.sqrt(x.shape[1])).softmax(dim=-1)
        return x + self.to_out[0](weight @ value).mT.reshape(x.shape)


class Down(nn.Module):
    """One level on the way down; adds what it computes to the skips."""

    def __init__(self, ins: int, outs: int, time: int, layers: int, groups: int, attention: bool, halve: bool):
        super().__init__()
        widths = pairwise([ins, *[outs] * layers])
        self.resnets = nn.ModuleList(Residual(*pair, time, groups) for pair in widths)
        self.attentions = nn.ModuleList(Attention(outs, groups) for _ in range(layers * attention))
        self.downsamplers = nn.ModuleList([Halve(outs)] * halve)

    def forward(self, h: Tensor, time_BT: Tensor, skips: list[Tensor]) -> Tensor:
        for number, block in enumerate(self.resnets):
            h = block(h, time_BT)
            if self.attentions:
                h = self.attentions[number](h)
            skips.append(h)
        for downsampler in self.downsamplers:
            h = downsampler(h)
            skips.append(h)
        return h


class Middle(nn.Module):
    """Attention between two residual blocks."""

    def __init__(self, width: int, time: int, groups: int):
        super().__init__()
        self.attentions = nn.ModuleList([Attention(width, groups)])
        self.resnets = nn.ModuleList(Residual(width, width, time, groups) for _ in range(2))

    def forward(self, h: Tensor, time_BT: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](h, time_BT)), time_BT)


class Up(nn.Module):
    """One level on the way up; each residual block takes one of the skips, the latest first."""

    def __init__(
        self, ins: int, skips: Sequence[int], outs: int, time: int, groups: int, attention: bool, double: bool
    ):
        super().__init__()
        befores = [ins, *[outs] * (len(skips) - 1)]
        widths = [before + skip for before, skip in zip(befores, skips, strict=True)]
        self.resnets = nn.ModuleList(Residual(width, outs, time, groups) for width in widths)
        self.attentions = nn.ModuleList(Attention(outs, groups) for _ in range(len(skips) * attention))
        self.upsamplers = nn.ModuleList([Double(outs)] * double)

    def forward(self, h: Tensor, time_BT: Tensor, skips: list[Tensor]) -> Tensor:
        for number, block in enumerate(self.resnets):
            h = block(torch.cat([h, skips.pop()], dim=1), time_BT)
            if self.attentions:
                h = self.attentions[number](h)
        for upsampler in self.upsamplers:
            h = upsampler(h)
        return h


class Halve(nn.Module):
    """Strided convolution, filled up at the right and below only."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Double(nn.Module):
    """Each pixel four times, then a convolution."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        # Not by F.interpolate, whose gradient on CUDA differs from time to time.
        return self.conv(x[..., :, None, :, None].expand(-1, -1, -1, 2, -1, 2).flatten(4, 5).flatten(2, 3))


OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Of the attention's layers, in files of before 2023, those of google/ddpm-cifar10-32 among them."""


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with old names of the attention's layers brought up to date."""
    old = re.compile(rf"\.({'|'.join(OLD_NAMES)})(?=\.\w+$)")
    return {old.sub(lambda match: f".{OLD_NAMES[match[1]]}", key): value for key, value in state.items()}

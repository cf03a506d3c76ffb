"""Networks that are fields: coordinates in, one number out. B points, W width, F features of a coordinate."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


def waves(x_BC: Tensor, frequencies: int) -> Tensor:
    """Return the coordinates, and sines and cosines of 2^k pi times them (Mildenhall et al. 2020, eq. 4)."""
    phases = [2**k * math.pi * x_BC for k in range(frequencies)]
    return torch.cat([x_BC, *(wave for phase in phases for wave in (phase.sin(), phase.cos()))], dim=-1)


class FieldNet(nn.Module):
    """Perceptron from coordinates `[B, 2 or 3]` to `[B, outputs]`; with sines (SIREN) or rectified layers."""

    def __init__(self, inputs: int, outputs: int, hidden: int, width: int, w0: float, frequencies: int):
        """`w0` = 0 asks for rectified layers with torch's own initialisation."""
        super().__init__()
        self.w0, self.frequencies = w0, frequencies
        sizes = [inputs * (1 + 2 * frequencies), *[width] * hidden]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.out = nn.Linear(width, outputs)
        if w0:
            self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Draw weights so that every layer's phases are spread alike (Sitzmann et al. 2020, section 3.2)."""
        for number, layer in enumerate([*self.hidden, self.out]):
            reach = math.sqrt(6 / layer.in_features) / self.w0 if number else 1 / layer.in_features
            layer.weight.uniform_(-reach, reach)

    def forward(self, x_BC: Tensor) -> Tensor:
        h_BW = waves(x_BC, self.frequencies)
        for layer in self.hidden:
            h_BW = torch.sin(self.w0 * layer(h_BW)) if self.w0 else torch.relu(layer(h_BW))
        return self.out(h_BW)

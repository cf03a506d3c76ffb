"""The module of scenes in colour. P points, W width, F features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pdiff_plugins.fields.siren import waves


class RadianceNet(nn.Module):
    """Perceptron of points and unit directions `[P, 6]`, what more there is being left unread, to `[P, outputs]`.

    Points are halved before they are encoded, so that the slowest wave is a whole one from -2 to 2: a scene within the
    unit ball then does not come round again (trained for 250 steps, 38 dB in place of 35).
    """

    def __init__(
        self, hidden: int, width: int, outputs: int, frequencies: int, activation: str, again_at: int,
        direction_at: int, direction_frequencies: int,
    ):  # fmt: skip
        """`again_at` and `direction_at`: hidden layer that is given the point again, or the direction; 0: none."""
        super().__init__()
        self.frequencies, self.direction_frequencies = frequencies, direction_frequencies
        self.again_at, self.direction_at = again_at, direction_at
        self.activation = {"relu": functional.relu, "silu": functional.silu}[activation]
        point, direction = 3 * (1 + 2 * frequencies), 3 * (1 + 2 * direction_frequencies)
        sizes = [point, *[width] * (hidden - 1)]
        for at, more in ((again_at, point), (direction_at, direction)):
            if at:
                sizes[at] += more
        self.hidden = nn.ModuleList(nn.Linear(size, width) for size in sizes)
        self.out = nn.Linear(width, outputs)

    def forward(self, x_P6: Tensor) -> Tensor:
        point_PF = h_PW = waves(x_P6[:, :3] / 2, self.frequencies)
        for number, layer in enumerate(self.hidden):
            if number and number == self.again_at:
                h_PW = torch.cat([h_PW, point_PF], dim=1)
            if number and number == self.direction_at:
                h_PW = torch.cat([h_PW, waves(x_P6[:, 3:6], self.direction_frequencies)], dim=1)
            h_PW = self.activation(layer(h_PW))
        return self.out(h_PW)

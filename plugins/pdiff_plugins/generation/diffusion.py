"""Diffusion of images in -1..1: the loss that trains a network, and the images that it draws from noise.

Symbols as in `diffusion`. Shapes: B images, C x H x W each. A model is called as `(x_BCHW, t_B) -> epsilon_BCHW`.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pdiff_plugins.maths.diffusion import Schedule, timesteps

Model = Callable[[Tensor, Tensor], Tensor]


def loss(model: Model, x0_BCHW: Tensor, schedule: Schedule) -> Tensor:
    """Return the mean squared error of the noise (Ho et al. 2020, eq. 14).

    Steps and noise are drawn on the device from torch's global generator, which the training loop seeds at each step.
    """
    t_B = torch.randint(schedule.steps, (len(x0_BCHW),), device=x0_BCHW.device)
    epsilon_BCHW = torch.randn_like(x0_BCHW)
    alpha_bar = _alpha_bar(schedule, x0_BCHW.device)[t_B].view(-1, 1, 1, 1)
    x_BCHW = alpha_bar.sqrt() * x0_BCHW + (1 - alpha_bar).sqrt() * epsilon_BCHW
    return F.mse_loss(model(x_BCHW, t_B).float(), epsilon_BCHW)


@functools.lru_cache(maxsize=8)
def _alpha_bar(schedule: Schedule, device: torch.device) -> Tensor:
    return schedule.alpha_bar.float().to(device)


def images(model: Model, x_BCHW: Tensor, schedule: Schedule, *, steps: int, eta: float) -> Tensor:
    """Return images in -1..1 from starting noise, in `steps` steps of DDIM (Song et al. 2021, eq. 12 and 16).

    The image that a step foresees is clipped to -1..1, and its noise follows from that. eta = 0 adds no noise; eta = 1
    with as many steps as the schedule is the sampler of Ho et al. 2020, eq. 6-7, with the posterior's variance.
    """
    noise = _Noise(x_BCHW) if eta else None
    times = timesteps(schedule.steps, steps)
    before = [schedule.alpha_bar[t].item() for t in times]
    for t, now, after in zip(times, before, [*before[1:], 1.0], strict=True):
        epsilon = model(x_BCHW, torch.full((len(x_BCHW),), float(t), device=x_BCHW.device))
        x0 = ((x_BCHW - math.sqrt(1 - now) * epsilon) / math.sqrt(now)).nan_to_num(0.0).clamp(-1, 1)
        epsilon = (x_BCHW - math.sqrt(now) * x0) / math.sqrt(1 - now)
        sigma = eta * math.sqrt((1 - after) / (1 - now) * (1 - now / after))
        x_BCHW = math.sqrt(after) * x0 + math.sqrt(max(1 - after - sigma**2, 0.0)) * epsilon
        if noise and sigma:
            x_BCHW = x_BCHW + sigma * noise()
    return x_BCHW


class _Noise:
    """Standard normal noise that depends on an image's starting noise alone, not on the batch that it is in."""

    def __init__(self, start_BCHW: Tensor):
        self.like = start_BCHW
        digests = (hashlib.sha256(start.tobytes()).digest() for start in start_BCHW.cpu().numpy())
        self.streams = [np.random.default_rng(list(digest)) for digest in digests]

    def __call__(self) -> Tensor:
        shape = tuple(self.like.shape[1:])
        noise = np.stack([stream.standard_normal(shape, dtype=np.float32) for stream in self.streams])
        return torch.from_numpy(noise).to(self.like.device)

"""Volume rendering: what colour is seen along a ray. B rays, N samples of each, W = 3 colours.

Max 1995, Optical models for direct volume rendering; Mildenhall et al. 2020, arXiv 2003.08934, eq. 3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pdiff_plugins.radiance.rays import parts

Field = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Points and unit directions `[P, 6]` -> densities `[P]`, in 1 / length, and colours `[P, 3]`, 0..1."""


def weights(density_BN: Tensor, length_B: Tensor) -> Tensor:
    """Return how much each sample adds to the colour of its ray, `[B, N]`; what is left of 1 is the background.

    A part of optical depth d takes 1 - exp(-d) of what light has come through all parts before it.
    """
    depth_BN = density_BN * length_B[:, None]
    # A product, since on CUDA cumsum has no kernel that repeats bit by bit.
    earlier_NN = depth_BN.new_ones(depth_BN.shape[1], depth_BN.shape[1]).triu(1)
    before_BN = depth_BN @ earlier_NN
    return -torch.expm1(-depth_BN) * torch.exp(-before_BN)


def rendered(field: Field, rays_B7: Tensor, samples: int) -> Tensor:
    """Return the colours of rays `[B, 3]`, before a white background."""
    points_BN3, direction_B3, length_B = parts(rays_B7, samples)
    both_BN6 = torch.cat([points_BN3, direction_B3[:, None].expand_as(points_BN3)], dim=2)
    density_P, colour_P3 = field(both_BN6.flatten(0, 1))
    weight_BN = weights(density_P.unflatten(0, (-1, samples)), length_B)
    colour_B3 = (weight_BN[..., None] * colour_P3.unflatten(0, (-1, samples))).sum(dim=1)
    return colour_B3 + (1 - weight_BN.sum(dim=1, keepdim=True))

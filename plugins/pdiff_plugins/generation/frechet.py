"""Fréchet distances between sets of images, by the features that a network gives of them.

Shapes: E generated or real images, F features, K neighbours. Images are uint8 `[E, C, H, W]`.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from pdiff.components import Architecture

AT_ONCE = 256
"""Images per call of the feature network."""
NEIGHBOURS = 3
"""K of the paper's improved precision."""


def to_pixels(images: Tensor) -> Tensor:
    """Return images in -1..1 as uint8, as they would be in a file."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class Gaussian:
    """The normal distribution with the mean and covariance of features `[E, F]`, in float64.

    The covariance (divisor E - 1) is R^T R; R comes from the features themselves, so that no root of it is taken.
    """

    def __init__(self, features_EF: Tensor):
        features_EF = features_EF.double()
        self.mean = features_EF.mean(dim=0)
        centred_EF = (features_EF - self.mean) / math.sqrt(max(len(features_EF) - 1, 1))
        self.root = torch.linalg.qr(centred_EF, mode="r").R
        self.variance = float(centred_EF.square().sum())
        """Of all features together: the trace of the covariance."""

    def distance(self, other: Gaussian) -> float:
        """Return the squared Fréchet distance (Dowson and Landau 1982, eq. 4; Heusel et al. 2017, eq. 6).

        The trace of the root of the covariances' product is the sum of the singular values of R_1 R_2^T.
        """
        common = torch.linalg.svdvals(self.root @ other.root.T).sum()
        apart = (self.mean - other.mean).square().sum()
        return float((apart + self.variance + other.variance - 2 * common).clamp_min(0))


class Features:
    """A feature network on the devices that it was asked on, and what it said of real images."""

    def __init__(self, component: Architecture, outputs: int):
        self.component, self.outputs = component, outputs
        self.networks: dict[torch.device, nn.Module] = {}
        self.known: dict[bytes, Tensor] = {}

    @torch.no_grad()
    def of(self, images_ECHW: Tensor) -> Tensor:
        """Return float32 `[E, F]`, on the device of the images, which are given to the network in -1..1."""
        network = self.network(tuple(images_ECHW.shape[1:]), images_ECHW.device)
        parts = [network(part.float() / 127.5 - 1).float().flatten(1) for part in images_ECHW.split(AT_ONCE)]
        return torch.cat(parts)

    def of_real(self, images_ECHW: Tensor) -> Tensor:
        """Return float32 `[E, F]` on the CPU; an image is run once, wherever it lay the first time."""
        keys = [image.tobytes() for image in images_ECHW.cpu().numpy()]
        new = [number for number, key in enumerate(keys) if key not in self.known]
        if new:
            features_EF = self.of(images_ECHW[new]).cpu()
            self.known |= {keys[number]: row for number, row in zip(new, features_EF, strict=True)}
        return torch.stack([self.known[key] for key in keys])

    def network(self, shape: tuple[int, ...], device: torch.device) -> nn.Module:
        """Return the network on a device, built the first time. Raises UserError where its weights cannot be had."""
        if device not in self.networks:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                network = feature_network(self.component, shape, self.outputs)
            self.networks[device] = network.to(device).eval().requires_grad_(False)
        return self.networks[device]


def feature_network(component: Architecture, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Return the network, its weights loaded where the recipe names a file. Raises UserError."""
    from pdiff.files import PRETRAINED
    from pdiff.networks import load_weights

    network = component.build(input_shape=shape, outputs=outputs)
    if component.weights and component.weights != PRETRAINED:
        load_weights(network, component, table="task.features")
    return network


@functools.lru_cache(maxsize=4)
def features_of(component: Architecture, outputs: int) -> Features:
    """Return the one `Features` of a network, so that what it knows of real images is shared."""
    return Features(component, outputs)


def outside(features_EF: Tensor, real_EF: Tensor) -> Tensor:
    """Return bool `[E]`: which images lie outside the manifold of the real ones.

    It is the union of balls around the real images, each as large as the distance to its third nearest neighbour
    (Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 1): 1 - the mean is their improved precision.
    """
    real_EF = real_EF.double()
    own_EE = torch.cdist(real_EF, real_EF)
    radius_E = own_EE.kthvalue(min(NEIGHBOURS + 1, len(real_EF)), dim=1).values  # the nearest is the image itself
    return (torch.cdist(features_EF.double(), real_EF) > radius_E).all(dim=1)

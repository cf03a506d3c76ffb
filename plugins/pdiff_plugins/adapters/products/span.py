"""The span of the products of a zoo of adapters. See `Products`. N checkpoints, M networks, L layers, Z latents."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pdiff.bench import Bench
from pdiff.context import Context
from pdiff.zoo import Zoo
from pdiff_plugins.adapters.products.populations import centred, grams, mixed
from pdiff_plugins.latent.span import of_gram

STILL = 1e-12
"""Of a layer's energy: where less differs between checkpoints it is rounding, and the layer counts nothing."""
CHECKED = 16
"""Checkpoints of which it is told what cutting their decoded products to the rank loses."""


class ProductSpan:
    """The directions in which products of checkpoints differ, largest first."""

    def __init__(self, zoo: Zoo, weight_ZN: Tensor, unit_L: Tensor, centre_N: Tensor):
        """`weight_ZN`: of checkpoints' deviations from the mean product; `centre_N`: the latter's inner products."""
        self.zoo, self.weight_ZN, self.unit_L, self.centre_N = zoo, weight_ZN, unit_L, centre_N

    def decode(self, z_MZ: Tensor, ctx: Context) -> Tensor:
        """Return theta_MD, adapters cut to their rank."""
        return mixed(self.zoo, z_MZ.double() @ self.weight_ZN, ctx)[0]

    def encode(self, theta_MD: Tensor, bench: Bench, ctx: Context) -> Tensor:
        """Return the latents z_MZ of adapters, in whatever factors; they need not be the zoo's."""
        product_MN = torch.zeros(len(theta_MD), len(self.zoo), dtype=torch.float64)
        for unit, (_, across_MN) in zip(self.unit_L, grams(theta_MD, self.zoo.theta_ND, self.zoo.layout), strict=True):
            product_MN += across_MN / unit**2
        product_MN -= product_MN.mean(dim=1, keepdim=True) + self.centre_N
        return (product_MN @ self.weight_ZN.T).float()

    def tensors(self) -> dict[str, Tensor]:
        return {"span.weight": self.weight_ZN, "span.unit": self.unit_L, "span.centre": self.centre_N}


def fit(zoo: Zoo, latent: int) -> tuple[ProductSpan, Tensor, dict[str, Any]]:
    """Return the span, the checkpoints' latents z_NZ in float64, and what is kept of them.

    `error` is of components alone; `cut`, the mean share of the decoded products' energy that their rank does not hold.
    """
    count, size, units = len(zoo), 0, []
    gram_NN = torch.zeros(count, count, dtype=torch.float64)
    for numbers, product_NN in grams(zoo.theta_ND, zoo.theta_ND, zoo.layout):
        squares, whole = max(float(centred(product_NN).trace()), 0), float(product_NN.trace())
        units.append(math.sqrt(squares / (count * numbers)) if squares > STILL * whole else math.inf)
        gram_NN += product_NN / units[-1] ** 2
        size += numbers
    mean_N = gram_NN.mean(dim=1)
    weight_ZN, z_NZ, kept = of_gram(centred(gram_NN), size, latent)
    span = ProductSpan(zoo, weight_ZN, torch.tensor(units, dtype=torch.float64), mean_N - mean_N.mean())
    few = torch.linspace(0, count - 1, min(CHECKED, count)).long()
    _, lost_M = mixed(zoo, z_NZ[few] @ weight_ZN, Context(seed=0))
    return span, z_NZ, kept | {"cut": float(lost_M.mean())}

"""One network's adapter as PEFT has it: the factors of each layer, and what they are multiplied by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pdiff_plugins.adapters.blocks import folded, unfolded
from pdiff_plugins.adapters.layers import A, B, adapted, groups, owner, scale_of
from pdiff_plugins.adapters.products.algebra import Factors, singular

ROUNDING = 1e-6
"""Singular values that are so much smaller than the largest are rounding alone."""


@dataclass(frozen=True)
class Adapter:
    """By the name of a layer: its factors A `[r, I, ...]` and B `[O, r, ...]`, and what B A is multiplied by."""

    factors: Mapping[str, tuple[Tensor, Tensor]]
    scales: Mapping[str, float]
    groups: Mapping[str, int]
    """Of convolutions whose factors are grouped, too: A `[r, I / g, ...]`, B `[O, r / g, ...]`."""
    biases: Mapping[str, Tensor] = field(default_factory=dict)
    """By the name of a layer: the whole bias that stands in the place of the network's own."""

    @classmethod
    def of(cls, state: Mapping[str, Tensor], model: nn.Module, biases: bool = False) -> Adapter:
        """Return the adapter in a whole state dict of a network that has adapters."""
        names = adapted(model)
        return cls(
            {name: (state[f"{name}.{A}.weight"], state[f"{name}.{B}.weight"]) for name in names},
            {name: scale_of(model.get_submodule(owner(name, state))) for name in names},
            {name: groups(model.get_submodule(name)) for name in names},
            {name: state[f"{name}.bias"] for name in names if biases and f"{name}.bias" in state},
        )

    @classmethod
    def of_products(cls, products: Mapping[str, Tensor], rank: int, groups: Mapping[str, int]) -> tuple[Adapter, float]:
        """Return the adapter of this rank at most that is nearest to changes of weights, and the share that it lacks.

        `products`, each in the shape of a layer's weight, may have any rank: means of products have. A layer whose
        change has a lower rank gets that one. `groups` of convolutions that have several.
        """
        factors, whole, kept = dict[str, tuple[Tensor, Tensor]](), 0.0, 0.0
        for name, product in products.items():
            many = groups.get(name, 1)
            u_GOR, values_GR, v_GRI = torch.linalg.svd(
                product.double().flatten(1).unflatten(0, (many, -1)), full_matrices=False
            )
            there = int((values_GR > ROUNDING * values_GR.max()).sum(dim=1).max())
            each = max(min(rank // many, there), 1)
            root_GR = values_GR[:, :each].sqrt()
            a_RI, b_OR = (root_GR[:, :, None] * v_GRI[:, :each]), u_GOR[:, :, :each] * root_GR[:, None]
            ones = (1,) * (product.ndim - 2)
            first = a_RI.reshape(many * each, *product.shape[1:]).to(product.dtype)
            factors[name] = first, b_OR.reshape(len(product), each, *ones).to(product.dtype)
            whole, kept = whole + values_GR.square().sum().item(), kept + values_GR[:, :each].square().sum().item()
        scales, groups = dict.fromkeys(factors, 1.0), {name: groups.get(name, 1) for name in factors}
        return cls(factors, scales, groups), 1 - kept / whole if whole else 0.0

    def cut(self, rank: int) -> tuple[Adapter, float]:
        """Return the nearest adapter whose layers have this rank at most, and the share of B A's energy it lacks.

        Nearest in the sum of squares, which is the energy, of all layers' scaled B A.
        """
        factors, whole, kept = dict(self.factors), 0.0, 0.0
        for name, pair in self.factors.items():
            factors[name], energy, left = cut(*pair, self.groups[name], rank)
            whole, kept = whole + energy * self.scales[name] ** 2, kept + left * self.scales[name] ** 2
        return replace(self, factors=factors), 1 - kept / whole if whole else 0.0


def cut(first: Tensor, second: Tensor, groups: int, rank: int) -> tuple[tuple[Tensor, Tensor], float, float]:
    """Return factors of this rank at most, the energy of B A, and theirs. Each group has its share of the rank."""
    a_GRI = first.double().flatten(1).unflatten(0, (groups, -1))
    b_GOR = second.double().flatten(1).unflatten(0, (groups, -1))
    u_GOR, values_GR, v_GRI = singular(Factors(a_GRI, b_GOR))
    each, energy_GR = max(rank // groups, 1), values_GR.square()
    whole, kept = energy_GR.sum().item(), energy_GR[:, :each].sum().item()
    if a_GRI.shape[1] <= each:
        return (first, second), whole, kept
    root_GR = values_GR[:, :each].sqrt()
    a_GRI, b_GOR = root_GR[:, :, None] * v_GRI[:, :each], u_GOR[:, :, :each] * root_GR[:, None, :]
    new = a_GRI.reshape(groups * each, *first.shape[1:]), b_GOR.reshape(len(second), each, *second.shape[2:])
    return (new[0].to(first.dtype), new[1].to(second.dtype)), whole, kept


def dense(first: Tensor, groups: int) -> Tensor:
    """Return the factor A of a grouped convolution as PEFT has it, which sees all inputs: zeros between groups."""
    if groups == 1:
        return first
    whole = unfolded(first.flatten(1).unflatten(0, (groups, -1)), groups)
    return whole.reshape(len(first), groups * first.shape[1], *first.shape[2:])


def grouped(whole: Tensor, groups: int) -> Tensor | None:
    """Return what `dense` made dense; None where there is more than zeros between groups."""
    if groups == 1:
        return whole
    first = folded(whole.flatten(1)[None], groups).reshape(len(whole), whole.shape[1] // groups, *whole.shape[2:])
    return first if dense(first, groups).equal(whole) else None

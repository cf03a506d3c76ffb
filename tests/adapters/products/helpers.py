"""Zoos of adapters, and the same adapters in other factors."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pdiff.engine.bench import RunBench
from pdiff.networks import build_network, extended
from pdiff.testing import TinyNet, TinyTask, bench_of, tiny_splits
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.adapters.factors import pairs
from pdiff_plugins.adapters.selector import Lora

SIZES = ((12, (10,)), (5, (3, 2, 2)), (3, (20,)))
"""Outputs and inputs of layers: two linear ones, one of which has fewer outputs than a rank of 4, and a convolution."""


def layout_of(rank: int = 4, sizes: tuple[tuple[int, tuple[int, ...]], ...] = SIZES, bias: bool = False) -> Layout:
    rows = []
    for number, (outputs, inputs) in enumerate(sizes):
        keys = {"lora_A": (rank, *inputs), "lora_B": (outputs, rank, *[1] * (len(inputs) - 1))}
        rows += [{"key": f"l{number}.{key}.weight", "shape": shape, "positive": False} for key, shape in keys.items()]
        rows += [{"key": f"l{number}.bias", "shape": (outputs,), "positive": False}] if bias else []
    return Layout.from_json(rows)


def zoo_of(count: int = 8, rank: int = 4, bias: bool = False, sizes=SIZES, seed: int = 0) -> Zoo:
    """Return adapters that have much in common; of the base, B is zero."""
    generator, layout = torch.Generator().manual_seed(seed), layout_of(rank, sizes, bias)
    theta_ND = torch.randn(1, layout.dim, generator=generator) + torch.randn(count, layout.dim, generator=generator)
    base = layout.tensors(torch.randn(layout.dim, generator=generator))
    anchor = {key: torch.zeros_like(value) if "lora_B" in key else value.clone() for key, value in base.items()}
    rows = [{"run": number, "step": 0, "metrics": {}} for number in range(count)]
    return Zoo(theta_ND, layout, anchor, rows)


def products_of(theta_MD: Tensor, layout: Layout) -> list[Tensor]:
    """Return B A of every layer, `[M, O, I]` in float64, written out."""
    found = []
    for pair in pairs(layout):
        a_MRI, b_MOR = (part.double() for part in pair.split(theta_MD))
        found.append(torch.einsum("mor,mri->moi", b_MOR, a_MRI))
    return found


def all_products(theta_MD: Tensor, layout: Layout) -> Tensor:
    """Return them in one row for each network."""
    return torch.cat([product_MOI.flatten(1) for product_MOI in products_of(theta_MD, layout)], dim=1)


def regauged(theta_MD: Tensor, layout: Layout, generator: torch.Generator, condition: float = 10) -> Tensor:
    """Return adapters in other factors (B G, G^-1 A), G of at most this condition number, rounded to float32."""
    theta_MD = theta_MD.clone()
    for pair in pairs(layout):
        a_MRI, b_MOR = (part.double() for part in pair.split(theta_MD))
        u, v = (torch.linalg.qr(torch.randn(len(theta_MD), pair.rank, pair.rank, generator=generator).double())[0]
                for _ in range(2))  # fmt: skip
        s = condition ** (torch.rand(len(theta_MD), pair.rank, generator=generator).double() - 0.5)
        pair.write(theta_MD, (v.mT / s[:, None]) @ u.mT @ a_MRI, b_MOR @ u @ (s[:, :, None] * v))
    return theta_MD


def tiny_adapters(count: int = 6, rank: int = 2) -> tuple[Zoo, RunBench]:
    """Return adapters of a tiny network, with the bench of the selector that added them."""
    selector, model = Lora(rank=rank), build_network(TinyNet(), tiny_splits(), 0)
    extended(model, selector, 0)
    layout, state = Layout.of(model, selector.select(model)), model.state_dict()
    theta_ND = torch.randn(count, layout.dim, generator=torch.Generator().manual_seed(0)) / rank
    rows = [{"run": number, "step": 0, "metrics": {}, "label": number} for number in range(count)]
    zoo = Zoo(theta_ND, layout, {key: value.clone() for key, value in state.items()}, rows)
    return zoo, replace(bench_of(zoo, TinyNet(), TinyTask(), tiny_splits()), selector=selector)

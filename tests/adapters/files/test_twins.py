"""Files that are one adapter under other factors."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdiff.zoo import Layout
from pdiff_plugins.adapters.factors import pairs
from pdiff_plugins.adapters.files.twins import told, twins
from pdiff_plugins.adapters.selector import Lora
from tests.adapters.files.helpers import MIXED, extended, mixed


def zoo(selector: Lora, count: int) -> tuple[torch.Tensor, Layout]:
    model = extended(mixed(), selector)
    layout = Layout.of(model, selector.select(model))
    return torch.randn(count, layout.dim, generator=torch.Generator().manual_seed(5)), layout


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.booleans())
def test_another_gauge_is_found_and_another_product_is_not(seed: int, biases: bool) -> None:
    theta_ND, layout = zoo(MIXED.model_copy(update={"biases": biases}), 6)
    generator = torch.Generator().manual_seed(seed)
    theta_ND[4] = theta_ND[1]
    for pair in pairs(layout):
        a_MRI, b_MOR = pair.split(theta_ND[1:2])
        gauge = torch.eye(pair.rank) * 2  # of groups each must keep its own
        if pair.groups == 1:
            gauge = torch.linalg.qr(torch.randn(pair.rank, pair.rank, generator=generator))[0] * 3
        pair.write(theta_ND[4:5], torch.linalg.solve(gauge, a_MRI[0])[None], (b_MOR[0] @ gauge)[None])
    assert not torch.allclose(theta_ND[4], theta_ND[1], atol=0.1)
    assert twins(theta_ND, layout) == [(1, 4)]
    theta_ND[4, pairs(layout)[-1].b.columns] *= 1.001
    assert twins(theta_ND, layout) == []


def test_a_difference_in_biases_is_one() -> None:
    theta_ND, layout = zoo(Lora(rank=2, targets=("fc", "head"), biases=True), 3)
    theta_ND[2], rows = theta_ND[0], [{"file": name} for name in "abc"]
    assert told(theta_ND, layout, rows)[0].startswith("collect: a and c are one adapter: ")
    theta_ND[2, next(entry for entry in layout.entries if entry.key == "head.bias").columns] += 0.01
    assert told(theta_ND, layout, rows) == []

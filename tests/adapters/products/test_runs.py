"""A run whose adapters are written in one form, coded by their products, merged, and told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import pdiff
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.recipe.tables import Recipe
from pdiff.testing import TinyNet, tiny_run
from pdiff_plugins.adapters.products.canonical import Canonical, canonised
from pdiff_plugins.adapters.products.codec import Products
from pdiff_plugins.adapters.products.methods import MeanAdapter
from pdiff_plugins.adapters.selector import Lora
from pdiff_plugins.audit.evaluator import Audit
from pdiff_plugins.baselines.merging import Dare, TaskArithmetic, Ties
from pdiff_plugins.evaluators.distance import Distance
from pdiff_plugins.evaluators.findings import PRODUCTS
from pdiff_plugins.latent.flows import FlowMatching

TABLES = {
    "selector": Lora(rank=2), "architecture": TinyNet(), "zoo": [Canonical()],
    "method": FlowMatching(codec=Products(latent=4), steps=3, batch_size=8, sampling_steps=3),
    "baseline": [MeanAdapter(), TaskArithmetic(of="products"), Ties(of="products"), Dare()],
    "evaluate": [Distance(), Audit(examples=20, draws=5)],
}  # fmt: skip


def recipe(folder: Path, **tables: Any) -> Recipe:
    return tiny_run(folder, **{**TABLES, **tables}).recipe


def test_a_run_of_adapters_is_judged_by_products(tmp_path: Path) -> None:
    run = pdiff.run(recipe(tmp_path), name="adapters", quiet=True)
    zoo, scores = run.zoo, run.scores
    torch.testing.assert_close(canonised(zoo.theta_ND, zoo.layout, Context(seed=0)), zoo.theta_ND)
    assert scores["distance"]["products"] is True and scores["audit"]["products"] is True
    facts = scores["facts"]
    assert {"scale", "cut"} <= set(facts["ties"]) and "cut" in facts["mean_adapter"] and "cut" not in facts["dare"]
    assert PRODUCTS in scores["notes"]
    assert run.state_dict().keys() == TinyNet().build(input_shape=(2,), outputs=3).state_dict().keys()


def test_a_run_without_adapters_says_so_ahead(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        pdiff.run(recipe(tmp_path, selector=tiny_run(tmp_path).recipe.selector), name="plain", quiet=True)
    lines = str(raised.value).splitlines()
    assert sum("the selection holds no adapters" in line for line in lines) == 5, lines
    assert not list(tmp_path.rglob("*.safetensors"))

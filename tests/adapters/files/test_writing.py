"""What is written of an adapter, and what PEFT would compute otherwise and is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from pdiff.errors import UserError
from pdiff.files import load_tensors
from pdiff_plugins.adapters.files.adapter import Adapter, dense, grouped
from pdiff_plugins.adapters.files.peft import write
from pdiff_plugins.adapters.selector import Lora
from tests.adapters.files.helpers import MIXED, extended, mixed, read, small

KEYS = {
    "emb.lora_embedding_A": (4, 11), "emb.lora_embedding_B": (8, 4),
    "attn.lora_A.weight": (3, 8), "attn.lora_B.weight": (24, 3),
    "attn.base_layer.out_proj.lora_A.weight": (3, 8), "attn.base_layer.out_proj.lora_B.weight": (8, 3),
    "along.lora_A.weight": (4, 8, 3), "along.lora_B.weight": (8, 4, 1),
    "grouped.lora_A.weight": (4, 4, 3, 3), "grouped.lora_B.weight": (8, 2, 1, 1),
    "conv.lora_A.weight": (4, 8, 3, 3), "conv.lora_B.weight": (6, 4, 1, 1),
    "block.fc.lora_A.weight": (4, 6), "block.fc.lora_B.weight": (6, 4),
    "head.lora_A.weight": (2, 6), "head.lora_B.weight": (5, 2),
}  # fmt: skip
"""As peft 0.21.2 names and shapes them."""


def out(selector: Lora, model: nn.Module, folder: Path, **options) -> dict:
    folder.mkdir()
    selector.write("peft", model.state_dict(), model, folder, **options)
    return json.loads((folder / "adapter_config.json").read_text())


@pytest.mark.parametrize("halved", [True, False])
def test_files_have_pefts_names_and_shapes_and_come_back_equal(tmp_path: Path, halved: bool) -> None:
    model = extended(mixed(), MIXED, drawn=1)
    told = out(MIXED, model, tmp_path / "a", halved=halved)
    state = load_tensors(tmp_path / "a" / "adapter_model.safetensors")
    assert {key: tuple(value.shape) for key, value in state.items()} == {
        f"base_model.model.{key}": shape for key, shape in KEYS.items()
    }
    assert told["rank_pattern"] == {"^attn": 3, "^head": 2} and told["r"] == 4
    assert "attn.out_proj" not in told["target_modules"]
    back, said = read(tmp_path / "a", MIXED, mixed())
    assert all(value.equal(back.state_dict()[key]) for key, value in model.state_dict().items())
    assert said == [] or halved


def test_attention_asks_which_peft_is_meant(tmp_path: Path) -> None:
    model = extended(mixed(), MIXED, drawn=1)
    with pytest.raises(UserError, match=r"attn\.out_proj has an adapter, which PEFT to 0\.21\.2 adds twice"):
        out(MIXED, model, tmp_path / "a")
    assert not list((tmp_path / "a").iterdir())
    model.attn.out_proj.lora_B.weight.data.zero_()
    assert "peft_version" in out(MIXED, model, tmp_path / "b")


@pytest.mark.parametrize(("option", "value"), [("dilation", 2), ("padding_mode", "circular")])
def test_what_peft_leaves_out_of_an_adapter_is_refused(tmp_path: Path, option: str, value) -> None:
    base = nn.Sequential(nn.Conv2d(2, 3, 3, padding=2, **{option: value}), nn.Conv2d(3, 3, 1))
    model = extended(base, Lora(rank=2), drawn=1)
    with pytest.raises(UserError, match=f"layer 0 has {option} = .*, which PEFT leaves out of its adapters; export"):
        out(Lora(rank=2), model, tmp_path / "a")
    assert not list((tmp_path / "a").iterdir())


def test_products_of_any_rank_are_cut_with_a_rank_for_each_layer(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    base = extended(mixed(), Lora(rank=4))
    shapes = {name: base.get_submodule(name).weight.shape for name in ("conv", "grouped", "head", "block.fc")}
    products = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    products["head"] = products["head"][:, :1] @ products["head"][:1]
    adapter, lost = Adapter.of_products(products, 4, {"grouped": 2})
    matrices = [m.double().flatten(1) for name, m in products.items() if name != "grouped"]
    matrices += list(products["grouped"].double().flatten(1).unflatten(0, (2, -1)))
    kept = [torch.linalg.svdvals(m)[: 2 if n > 2 else 4].square().sum() for n, m in enumerate(matrices)]
    whole = sum(m.square().sum() for m in matrices)
    assert lost == pytest.approx(1 - float(sum(kept) / whole), abs=1e-9) and 0.1 < lost < 0.9
    write(adapter, base, tmp_path)
    told = json.loads((tmp_path / "adapter_config.json").read_text())
    assert told["r"] == 4 and told["rank_pattern"] == {"^head": 1} and told["alpha_pattern"] == {"^head": 1}
    selector = Lora(rank=4, targets=tuple(shapes))
    changed = selector.plain(read(tmp_path, selector, mixed())[0].state_dict())
    assert torch.allclose(changed["head.weight"] - mixed().head.weight, products["head"], atol=1e-5)
    whole_rank, nothing = Adapter.of_products(products, 99, {"grouped": 2})
    assert nothing == pytest.approx(0, abs=1e-12) and len(whole_rank.factors["block.fc"][0]) == 6


def test_a_cut_is_the_best_of_its_rank_also_of_groups() -> None:
    model = extended(mixed(), Lora(rank=4, alpha=3, targets=("grouped", "fc")), drawn=1)
    adapter = Adapter.of(model.state_dict(), model)
    cut, lost = adapter.cut(2)
    whole = Lora(rank=4, alpha=3, targets=("grouped", "fc")).plain(model.state_dict())
    products = {name: whole[f"{name}.weight"] - mixed().state_dict()[f"{name}.weight"] for name in adapter.factors}
    best, share = Adapter.of_products(products, 2, {"grouped": 2})
    assert lost == pytest.approx(share, abs=1e-5) and [len(a) for a, _ in cut.factors.values()] == [2, 2]
    for name, pair in cut.factors.items():
        wanted = product(best.factors[name], best.groups[name])
        assert torch.allclose(product(pair, adapter.groups[name]) * 3 / 4, wanted, atol=1e-5)
    assert adapter.cut(4)[1] == pytest.approx(0, abs=1e-12)
    assert all(pair[0] is adapter.factors[name][0] for name, pair in adapter.cut(9)[0].factors.items())


def product(pair: tuple[torch.Tensor, torch.Tensor], groups: int) -> torch.Tensor:
    first, second = (factor.flatten(1).unflatten(0, (groups, -1)) for factor in pair)
    return second @ first


def test_groups_are_dense_for_peft_and_grouped_again() -> None:
    first = torch.randn(6, 2, 3, 3)
    whole = dense(first, 3)
    assert whole.shape == (6, 6, 3, 3) and grouped(whole, 3).equal(first)
    x = torch.randn(2, 6, 5, 5)
    assert torch.allclose(torch.conv2d(x, whole), torch.conv2d(x, first, groups=3), atol=1e-5)
    whole[0, 5] = 1
    assert grouped(whole, 3) is None


def test_biases_go_along(tmp_path: Path) -> None:
    selector = Lora(rank=2, biases=True)
    model = extended(small(), selector, drawn=1)
    assert out(selector, model, tmp_path / "a")["bias"] == "lora_only"
    assert read(tmp_path / "a", selector)[0].state_dict()["fc.bias"].equal(model.fc.bias)

"""Files of adapters that PEFT wrote: what they compute is kept, and what they lack or have too much of is told."""

from __future__ import annotations

import json
import math
import tempfile
import tomllib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pdiff_plugins.adapters.selector import Lora
from tests.adapters.files.helpers import CONFIG, delta, extended, factors, fault, read, small, written

LAYERS = ("fc", "block.fc", "head")


def changes(model: nn.Module, selector: Lora) -> dict[str, torch.Tensor]:
    """Return what adapters change of each weight, from the merged state dict."""
    plain, base = selector.plain(model.state_dict()), small().state_dict()
    return {layer: plain[f"{layer}.weight"].double() - base[f"{layer}.weight"].double() for layer in LAYERS}


@pytest.mark.parametrize("end", ["", ".default", ".mine"])
@pytest.mark.parametrize(
    ("config", "scales"),
    [
        ({}, (2, 2, 2)),
        ({"use_rslora": True}, (4 / math.sqrt(2),) * 3),
        ({"alpha_pattern": {"fc": 7}}, (3.5, 3.5, 2)),
        ({"alpha_pattern": {"^fc": 7}}, (3.5, 2, 2)),
        ({"alpha_pattern": {"block.fc": 1, "fc": 7}}, (3.5, 0.5, 2)),
    ],
)
@pytest.mark.parametrize(
    "selector", [Lora(rank=2), Lora(rank=2, alpha=4), Lora(rank=3, alpha=1)], ids=["once", "same", "larger"]
)
def test_what_a_file_computes_is_kept_whatever_its_scale(tmp_path: Path, end, config, scales, selector: Lora) -> None:
    state = factors(end=end)
    model, said = read(written(tmp_path, state, **config), selector)
    changed = changes(model, selector)
    for layer, scale in zip(LAYERS, scales, strict=True):
        assert torch.allclose(changed[layer], delta(state, layer, scale), atol=1e-5)
    if selector.alpha == 4 and not config:
        assert said == [] and model.fc.lora_B.weight.equal(state[f"base_model.model.fc.lora_B{end}.weight"])
    elif selector.rank == 3:
        assert "1 file: rank 2 filled up with zeros to 3; scale" in said[0]


def test_ranks_of_single_layers_are_those_that_the_configuration_says(tmp_path: Path) -> None:
    state = factors(1, ("fc",)) | factors(2, ("block.fc", "head"))
    folder, selector = written(tmp_path, state, rank_pattern={"^fc": 1}), Lora(rank=2)
    assert torch.allclose(changes(read(folder, selector)[0], selector)["fc"], delta(state, "fc", 4), atol=1e-5)
    written(tmp_path, state, rank_pattern={})
    assert "gives fc the rank 2, but its file has rank 1; fetch both again" in fault(folder, selector)


def without(key: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in factors().items() if key not in name}


def adding(key: str, *shape: int) -> dict[str, torch.Tensor]:
    return factors() | {f"base_model.model.{key}": torch.ones(shape)}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (without("head.lora_B"), "lacks 'head.lora_B'; fetch it again"),
        (without("head"), "lacks the adapter of 'head'; adapt fewer layers"),
        (without("fc"), "lacks the adapter of 'fc' and 1 more; adapt fewer layers"),
        (adding("fc.lora_A.other.weight", 2, 4), "holds several adapters ("),
        (adding("tail.lora_A.weight", 2, 4), "has 'tail', which the selector does not adapt; adapt it, or"),
        (adding("fc.lora_A.weight", 2, 5), "fc.lora_A has shape [2, 5], expected [2, 4]"),
        (adding("fc.lora_B.weight", 6, 3), "fc.lora_B has shape [6, 3], expected [6, 2]"),
        (adding("fc.lora_A.weight"), "base_model.model.fc.lora_A.weight has shape [], which no adapter has; fetch it"),
        (adding("head.lora_B.weight", 0, 2), "head.lora_B.weight has shape [0, 2], which no adapter has"),
        (adding("norm.weight", 2), "has 'norm.weight', which is no adapter's; leave it out by collect.rename"),
        (adding("fc.lora_magnitude_vector", 6), "fc.lora_magnitude_vector is of DoRA, which scales each row"),
    ],
)  # fmt: skip
def test_what_a_file_lacks_or_has_too_much_of_is_told(tmp_path: Path, state, message: str) -> None:
    assert message in fault(written(tmp_path, state), Lora(rank=2))


def test_peft_s_file_without_its_configuration_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, factors(), r=None)
    assert "is PEFT's, and adapter_config.json is not beside it, by which B A is scaled" in fault(folder, Lora(rank=2))


def test_a_larger_rank_is_refused_with_the_selector_that_fits(tmp_path: Path) -> None:
    state = factors(5)
    said = fault(written(tmp_path, state, r=5), Lora(rank=2))
    assert ": block.fc has rank 5, more than the selector's 2; selector = { " in said
    table = tomllib.loads(said.partition("; ")[2].removesuffix(" fits it"))["selector"]
    ranks = {"block.fc": 5, "head": 3, "fc": 4}  # of two that match the first counts
    assert table == {"name": "lora", "rank": 5, "alpha": 4.0, "ranks": ranks, "targets": ["fc", "head"]}
    selector = Lora(**{key: value for key, value in table.items() if key != "name"})
    model, said = read(tmp_path, selector)  # a weight of 3 rows has no higher rank than 3
    assert "rank 5 cut to 3, which nothing is lost by" in said[0]
    for layer, change in changes(model, selector).items():
        assert torch.allclose(change, delta(state, layer, 4 / 5), atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "table"),
    [
        (("fc",), {"targets": ["fc"], "exclude": ["block.fc"]}),
        (("fc", "block.fc"), {"targets": ["fc"]}),
        (("block.fc",), {"targets": ["block.fc"]}),
    ],
)
def test_a_selector_that_fits_is_told_where_layers_are_others(tmp_path: Path, layers, table) -> None:
    folder = written(tmp_path, factors(layers=layers), target_modules="|".join(layers), bias="lora_only")
    said = fault(folder, Lora(rank=2)).partition("; selector = ")[2].removesuffix(" fits it")
    told = tomllib.loads(f"selector = {said}")["selector"]
    assert told == {"name": "lora", "rank": 2, "alpha": 4.0, "biases": True} | table
    read(folder, Lora(**{key: value for key, value in told.items() if key != "name"}))


def test_a_layer_is_not_taken_for_another_whose_name_is_its_end(tmp_path: Path) -> None:
    folder = written(tmp_path, factors(layers=("block.fc",)), target_modules=["block.fc"])
    said = fault(folder, Lora(rank=2, targets=("fc",), exclude=("block.fc",)))
    assert "has 'block.fc', which the selector does not adapt" in said and 'targets = ["block.fc"] } fits it' in said


def test_what_the_configuration_adapts_and_the_file_lacks_is_told(tmp_path: Path) -> None:
    folder = written(tmp_path, factors(layers=("head",)))
    assert "lacks the adapter of 'fc' and 1 more, which its target_modules name" in fault(
        folder, Lora(rank=2, targets=("head",))
    )
    for more in ({"exclude_modules": ["fc"]}, {"target_modules": ".*head"}, {"layers_to_transform": [1]}):
        read(written(tmp_path, factors(layers=("head",)), **more), Lora(rank=2, targets=("head",)))


def test_biases_are_the_files_or_else_the_networks(tmp_path: Path) -> None:
    own = {"base_model.model.fc.base_layer.bias": torch.full((6,), 7.0)}
    folder = written(tmp_path, factors() | own, bias="lora_only")
    model, _ = read(folder, Lora(rank=2, biases=True))
    assert model.fc.bias.equal(own["base_model.model.fc.base_layer.bias"]) and model.head.bias.equal(small().head.bias)
    said = fault(folder, Lora(rank=2))
    assert "fc.bias differs from the network's, and is not generated; set selector.biases = true" in said
    same = {"base_model.model.fc.bias": small().fc.bias.detach()}  # as bias = "all" writes all that are there
    read(written(tmp_path, factors() | same, bias="all"), Lora(rank=2))


def test_own_names_alone_are_left_to_the_reader_of_networks(tmp_path: Path) -> None:
    from pdiff_plugins.adapters.files.reading import AdapterReader

    selector, model = Lora(rank=2), extended(small(), Lora(rank=2), drawn=1)
    state = {key: value for key, value in model.state_dict().items() if "lora" in key}
    reader = AdapterReader(model, {}, selector.select(model))
    assert not reader.takes(written(tmp_path / "own", state, "mine", r=None) / "mine.safetensors")
    assert reader.takes(written(tmp_path / "peft", factors()))
    plain = AdapterReader(small(), {}, [])
    assert not plain.takes(tmp_path / "peft")
    assert plain.hint(tmp_path / "peft").endswith('targets = ["fc", "head"] } fits it')


def test_an_older_file_of_torch_is_read_without_running_it(tmp_path: Path) -> None:
    torch.save(factors(), tmp_path / "adapter_model.bin")
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    model, _ = read(tmp_path, Lora(rank=2, alpha=4))
    assert model.fc.lora_A.weight.equal(factors()["base_model.model.fc.lora_A.weight"])


@settings(max_examples=30)
@given(
    rank=st.integers(1, 3), alpha=st.floats(0, 100), ranks=st.dictionaries(st.sampled_from(LAYERS), st.integers(1, 3)),
    alphas=st.dictionaries(st.sampled_from(LAYERS), st.floats(0.01, 100)), biases=st.booleans(), seed=st.integers(0, 9),
)  # fmt: skip
def test_what_any_selector_writes_comes_back_equal_in_every_bit(rank, alpha, ranks, alphas, biases, seed) -> None:
    selector = Lora(rank=rank, alpha=alpha, ranks=ranks, alphas=alphas, biases=biases)
    model = extended(small(), selector, drawn=seed)
    with tempfile.TemporaryDirectory() as folder:
        selector.write("peft", model.state_dict(), model, Path(folder))
        back, said = read(Path(folder), selector)
    assert said == [] and all(value.equal(back.state_dict()[key]) for key, value in model.state_dict().items())

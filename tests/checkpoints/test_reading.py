"""Which state dict of a file is meant, under which names, and in which words a file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file, save_model
from torch import nn

from pdiff.checkpoints.names import listed, natural, renamed
from tests.checkpoints.helpers import read, refused, same, state

AVERAGE = {"n_averaged": torch.tensor(3), "criterion.weight": torch.ones(3)}


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "module._orig_mod.", "model.", "base_model.model.", "a.b.c."]
)
@pytest.mark.parametrize("more", [{}, AVERAGE])
def test_a_common_prefix_is_dropped_in_every_kind_of_file(tmp_path: Path, prefix: str, more: dict) -> None:
    torch.save(state(prefix=prefix) | more, tmp_path / "a.pt")
    save_file(state(prefix=prefix) | more, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        given, said = read(tmp_path / name)
        assert same(given) and f"prefix {prefix!r} dropped" in said
        assert ("n_averaged" in said) == bool(more)


def test_a_wrapper_within_a_name_is_dropped_too(tmp_path: Path) -> None:
    torch.save({name.replace("fc1.", "fc1._orig_mod."): value for name, value in state().items()}, tmp_path / "a.pt")
    assert same(read(tmp_path / "a.pt")[0])


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "state_dict_ema", "net", "ema.model", "a.b.c.d"])
def test_the_one_state_dict_that_fits_is_taken(tmp_path: Path, key: str) -> None:
    data: dict = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1.0}]}}
    inner = data
    for part in key.split(".")[:-1]:
        inner = inner.setdefault(part, {})
    inner[key.rpartition(".")[2]] = state(prefix="module.")
    torch.save(data, tmp_path / "a.pt")
    given, said = read(tmp_path / "a.pt")
    assert same(given) and f"taken from {key!r}; prefix 'module.' dropped" in said


def test_of_several_that_fit_none_is_taken_in_silence(tmp_path: Path) -> None:
    torch.save({"state_dict": state(0), "state_dict_ema": {"module": state(1)}}, tmp_path / "a.pt")
    told = refused(tmp_path / "a.pt")
    assert "'state_dict', 'state_dict_ema.module'; say which, as collect.key = 'state_dict_ema.module'" in told
    assert same(read(tmp_path / "a.pt", key="state_dict")[0], 0)
    assert same(read(tmp_path / "a.pt", key="state_dict_ema")[0], 1)
    assert "did you mean 'state_dict'" in refused(tmp_path / "a.pt", key="statedict")
    torch.save({"state_dict": state(0), "best": state(0)}, tmp_path / "b.pt")
    assert same(read(tmp_path / "b.pt")[0], 0)


def test_of_one_mapping_with_several_networks_a_prefix_says_which(tmp_path: Path) -> None:
    torch.save(state(0, "student.") | state(1, "teacher."), tmp_path / "a.ckpt")
    assert "collect.key = 'teacher'" in refused(tmp_path / "a.ckpt")
    assert same(read(tmp_path / "a.ckpt", key="teacher")[0], 1)
    torch.save(state(0) | state(1, "ema."), tmp_path / "b.ckpt")
    assert "its top ('.')" in refused(tmp_path / "b.ckpt")
    assert same(read(tmp_path / "b.ckpt", key=".")[0], 0)
    assert same(read(tmp_path / "b.ckpt", key="ema")[0], 1)
    assert same(read(tmp_path / "b.ckpt", rename={"ema.*": ""})[0], 0)


def test_a_state_dict_beside_numbers_says_what_is_ignored(tmp_path: Path) -> None:
    torch.save(state() | {"epoch": 3}, tmp_path / "a.pt")
    given, said = read(tmp_path / "a.pt")
    assert same(given) and said == "collect: 1 file: ignored epoch"


def test_files_that_do_not_fit_say_what_they_have(tmp_path: Path) -> None:
    torch.save({"epoch": 1, "hyper": {"lr": 0.1}}, tmp_path / "a.pt")
    assert "holds no state dict (a mapping of names to tensors); it has the keys epoch, hyper" in refused(
        tmp_path / "a.pt"
    )
    torch.save({"sd": {"lin.weight": torch.ones(6, 4)}, "epoch": 1}, tmp_path / "b.pt")
    told = refused(tmp_path / "b.pt")
    assert "lacks 'fc1.weight'" in told and "it has under 'sd' 'lin.weight'" in told and "collect.rename" in told
    torch.save(state(prefix="module.") | {"module.fc9.weight": torch.ones(1)}, tmp_path / "c.pt")
    told = refused(tmp_path / "c.pt")
    assert "holds 'fc9.weight', which the architecture has not" in told and '{ "fc9.weight" = "" }' in told
    assert same(read(tmp_path / "c.pt", rename={"fc9.weight": ""})[0])


def test_names_are_mapped_by_patterns(tmp_path: Path) -> None:
    theirs = {name.replace("fc1", "layers.0").replace("out", "layers.1"): value for name, value in state().items()}
    torch.save({"model." + name: value for name, value in theirs.items()}, tmp_path / "a.pt")
    rules = {"layers.0.*": "fc1.*", "layers.1.*": "out.*", "never.*": "x.*"}
    given, said = read(tmp_path / "a.pt", rename=rules)
    assert same(given) and "renamed model.layers.0.weight to model.fc1.weight" in said
    assert said.endswith("collect.rename: never.* matches no entry")


def test_rules_move_what_stars_match_and_the_longest_counts() -> None:
    names = ["blocks.10.attn.w", "blocks.1.mlp.w", "head.w", "m.blocks.2.attn.w"]
    rules = {"blocks.*": "layers.*", "blocks.*.attn.*": "att.*.of.*", "head.w": ""}
    assert renamed(names, rules) == {
        "blocks.10.attn.w": "att.10.of.w", "blocks.1.mlp.w": "layers.1.mlp.w", "head.w": "",
        "m.blocks.2.attn.w": "m.att.2.of.w",
    }  # fmt: skip


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_entries_are_matched_by_order_only_when_told_so(tmp_path: Path, ending: str) -> None:
    deep = nn.Sequential(*(nn.Linear(3, 3) for _ in range(12)))
    theirs = {f"layers.{name}": value for name, value in deep.state_dict().items()}
    path = tmp_path / f"a{ending}"
    save_file(theirs, path) if ending == ".safetensors" else torch.save(theirs, path)
    ours = nn.ModuleDict({f"block{chr(97 + number)}": nn.Linear(3, 3) for number in range(12)})
    told = refused(path, ours)
    assert "same shapes in the same order: collect.match = 'order'" in told and "'layers.0." in told
    given, said = read(path, ours, match="order")
    assert "matched by shape and order (layers.0.weight as blocka.weight" in said
    for number, layer in enumerate(deep):
        assert given[f"block{chr(97 + number)}.weight"].equal(layer.weight)
    assert "are not the network's in their order" in refused(path, nn.Linear(2, 2), match="order")


def test_a_file_without_order_is_taken_by_numbers_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    deep = nn.Sequential(*(nn.Linear(3, 3, bias=False) for _ in range(12)), nn.Linear(3, 2))
    theirs = deep.state_dict()
    save_file({("head." if "12" in name else "layers.") + name: value for name, value in theirs.items()}, path)
    given, _ = read(path, deep, match="order")
    assert all(given[name].equal(value) for name, value in theirs.items())
    query = {f"{name}_proj.weight": torch.full((2, 2), float(number)) for number, name in enumerate("qkv")}
    ours = nn.ModuleDict({name: nn.Linear(2, 2, bias=False) for name in ("first", "second", "third")})
    save_file(query, path)
    assert "keeps no order but that of numbers" in refused(path, ours, match="order")
    assert "match = 'order'" not in refused(path, ours)
    torch.save(query, tmp_path / "a.pt")
    assert [value[0, 0].item() for value in read(tmp_path / "a.pt", ours, match="order")[0].values()] == [0, 1, 2]


def test_rules_that_make_two_entries_one_are_named(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "a.pt")
    told = refused(tmp_path / "a.pt", rename={"fc1.weight": "out.weight"})
    assert "collect.rename makes 'fc1.weight' and 'out.weight' one entry" in told


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.head = nn.Embedding(7, 3), nn.Linear(3, 7, bias=False)
        self.head.weight = self.emb.weight


def test_a_tied_tensor_that_a_file_has_once_is_completed_and_copies_must_agree(tmp_path: Path) -> None:
    model = Tied()
    save_model(model, str(tmp_path / "a.safetensors"))
    given, said = read(tmp_path / "a.safetensors", Tied())
    assert given["emb.weight"].equal(model.emb.weight) and given["head.weight"].equal(model.emb.weight)
    assert "tied" in said and "completed" in said
    both = {f"x.{number}.weight": value for number, value in enumerate(model.state_dict().values())}
    for entries in (both, {"x.0.weight": both["x.0.weight"]}):
        torch.save(entries, tmp_path / "c.pt")
        assert read(tmp_path / "c.pt", Tied(), match="order")[0]["head.weight"].equal(model.emb.weight)
    whole = {name: value + (name == "head.weight") for name, value in model.state_dict().items()}
    torch.save(whole, tmp_path / "b.pt")
    assert "emb.weight and head.weight differ, which are one tensor in the network" in refused(
        tmp_path / "b.pt", Tied()
    )


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_float8_becomes_float32_and_is_told(tmp_path: Path, dtype: torch.dtype) -> None:
    small = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state().items()}
    save_file(small, tmp_path / "a.safetensors")
    given, said = read(tmp_path / "a.safetensors")
    assert given["fc1.weight"].equal(small["fc1.weight"].to(torch.float32)) and "float8 read as float32" in said


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.complex64])
def test_values_of_another_kind_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.save(state() | {"fc1.weight": torch.ones(6, 4).to(dtype)}, tmp_path / "a.pt")
    told = refused(tmp_path / "a.pt")
    assert f"fc1.weight is {str(dtype)[6:]}, the network's float32" in told
    assert ("need a scale" in told) == (dtype != torch.complex64) and "order" not in told


def test_the_adapters_name_that_peft_leaves_out_is_found(tmp_path: Path) -> None:
    layer = nn.ModuleDict(
        {"lora_A": nn.ModuleDict({"default": nn.Linear(4, 2, bias=False)}), "base_layer": nn.Linear(4, 3)}
    )
    model, weight = nn.ModuleDict({"fc": layer}), torch.randn(2, 4)
    save_file({"base_model.model.fc.lora_A.weight": weight}, tmp_path / "adapter_model.safetensors")
    given, said = read(tmp_path, model, needed=["fc.lora_A.default.weight"])
    assert list(given) == ["fc.lora_A.default.weight"] and given["fc.lora_A.default.weight"].equal(weight)
    assert "published names read" in said


@settings(max_examples=60)
@given(numbers=st.lists(st.integers(0, 10**6), unique=True, max_size=8), text=st.text(max_size=6))
def test_natural_order_is_that_of_the_numbers(numbers: list[int], text: str) -> None:
    names = [f"step_{number}-{text}" for number in numbers]
    assert sorted(names, key=natural) == [f"step_{number}-{text}" for number in sorted(numbers)]
    assert natural(text) == natural(text) and (natural(text) < natural(text + "0"))


def test_long_lists_are_cut() -> None:
    assert listed("abcde", 2) == "a, b and 3 more" and listed("ab", 2) == "a, b"

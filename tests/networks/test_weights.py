"""A starting network from a file: with another head, under published names, and from timm's own files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from pdiff.errors import UserError
from pdiff.files import load_tensors, save_tensors
from pdiff.networks import build_network, load_weights
from pdiff.testing.tiny import TinyNet, tiny_splits
from pdiff_plugins.networks.small import HyperCnn, Mlp, MlpMini, TwoConvolutions
from pdiff_plugins.networks.timm import TimmModel


def loaded(architecture, shape: tuple[int, ...], outputs: int) -> tuple[nn.Module, list[str]]:
    torch.manual_seed(5)
    model, said = architecture.build(input_shape=shape, outputs=outputs), []
    load_weights(model, architecture, said.append)
    return model, said


def test_timms_file_with_another_head_is_loaded_as_timm_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    save_file(timm.create_model("resnet10t", num_classes=1000).state_dict(), path)
    named = TimmModel(model="resnet10t", weights=str(path))
    with pytest.raises(
        UserError, match=r'fc\.bias has shape \[1000\].*architecture\.head = "new" leaves fc\.weight, fc'
    ):
        loaded(named, (3, 32, 32), 10)
    model, said = loaded(named.model_copy(update={"head": "new"}), (3, 32, 32), 10)
    assert said == ["architecture.head: fc.weight, fc.bias newly initialised"]
    theirs = timm.create_model(
        "resnet10t", num_classes=10, pretrained=True, pretrained_cfg_overlay={"file": str(path), "num_classes": 1000}
    )
    assert all(value.equal(model.state_dict()[name]) for name, value in theirs.state_dict().items() if name[:2] != "fc")
    assert not model.fc.weight.equal(theirs.fc.weight) and model.fc.weight.shape == (10, 512)
    save_tensors(tmp_path / "out.safetensors", model.state_dict())
    fresh = timm.create_model("resnet10t", num_classes=10)
    fresh.load_state_dict(load_tensors(tmp_path / "out.safetensors"), strict=True)


def test_timms_first_layer_is_adapted_to_grey_images_as_timm_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    save_file(timm.create_model("resnet10t", num_classes=1000).state_dict(), path)
    model, said = loaded(TimmModel(model="resnet10t", weights=str(path), head="new"), (1, 32, 32), 4)
    theirs = timm.create_model(
        "resnet10t", num_classes=4, in_chans=1, pretrained=True,
        pretrained_cfg_overlay={"file": str(path), "num_classes": 1000},
    )  # fmt: skip
    assert model.conv1[0].weight.equal(theirs.conv1[0].weight) and "read as its publisher does" in said[0]


def test_any_networks_head_can_be_new_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    state = MlpMini().build(input_shape=(1, 8, 8), outputs=7).state_dict()
    torch.save({"net": state}, path)
    model, said = loaded(MlpMini(weights=str(path), head="new"), (1, 8, 8), 3)
    assert model.layers[0][0].weight.equal(state["layers.0.0.weight"])
    assert said == [
        "architecture: 1 file: taken from 'net'",
        "architecture.head: head.weight, head.bias newly initialised",
    ]
    with pytest.raises(UserError, match=r"layers\.1\.0\.weight has shape \[16, 64\], expected \[9, 64\]") as caught:
        loaded(MlpMini(weights=str(path), head="new", hidden=(64, 9)), (1, 8, 8), 3)
    assert "newly initialised" not in str(caught.value)


HYPER = {
    0.0: ("module_list.0", "module_list.3", "module_list.6", "module_list.9", "module_list.11"),
    0.1: ("module_list.0", "module_list.4", "module_list.8", "module_list.12", "module_list.15"),
}
"""Names of the layers in the model zoos' files, without and with dropout."""


@pytest.mark.parametrize(
    ("architecture", "shape", "names"),
    [
        (HyperCnn(), (1, 28, 28), HYPER[0.0]),
        (HyperCnn(dropout=0.1), (3, 28, 28), HYPER[0.1]),
        (Mlp(hidden=(10, 5)), (1, 8, 8), ("fc1", "fc2", "fc3")),
        (TwoConvolutions(), (3, 32, 32), ("conv1", "conv2", "fc")),
    ],
    ids=["hyper_cnn", "hyper_cnn_dropout", "mlp", "gpt_cnn"],
)
def test_published_names_are_read_by_the_networks_named_after_them(tmp_path: Path, architecture, shape, names) -> None:
    torch.manual_seed(1)
    own = architecture.build(input_shape=shape, outputs=10).state_dict()
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in own))
    theirs = {
        names[layers.index(name.rpartition(".")[0])] + "." + name.rpartition(".")[2]: v for name, v in own.items()
    }
    torch.save({"model": theirs}, tmp_path / "a.pt")
    model, said = loaded(architecture.model_copy(update={"weights": str(tmp_path / "a.pt")}), shape, 10)
    assert all(value.equal(model.state_dict()[name]) for name, value in own.items())
    assert len(said) == 1 and "published names read" in said[0]


def test_a_folder_of_shards_starts_a_network_and_counts_by_content(tmp_path: Path) -> None:
    state = TinyNet().build(input_shape=(2,), outputs=3).state_dict()
    folder = tmp_path / "a"
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    named = TinyNet(weights=str(folder), rename={"never": ""})
    model = build_network(named, tiny_splits(), 0)
    assert all(value.equal(model.state_dict()[name]) for name, value in state.items())
    before = named.identity()["weights"]
    moved = folder.rename(tmp_path / "b")
    assert TinyNet(weights=str(moved)).identity()["weights"] == before and before.startswith("sha256:")
    assert "head" not in TinyNet().identity() and TinyNet(head="new").identity()["head"] == "new"
    os.remove(moved / "model.safetensors")
    with pytest.raises(UserError, match=r"^architecture\.weights: .*is a folder without one network's weights"):
        build_network(TinyNet(weights=str(moved)), tiny_splits(), 0)

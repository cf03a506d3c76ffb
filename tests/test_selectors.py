"""Selectors: the paper's subsets, from the network itself and not from a list of names."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from pdiff.errors import UserError
from pdiff.zoo import Layout
from pdiff_plugins.networks.small import CnnMedium, MlpMini, ResNet20
from pdiff_plugins.selectors import Entire, LastNorms, Layers, Names


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return timm.create_model("resnet18", num_classes=100)


def test_last_norms_are_the_papers() -> None:
    expected = {
        "resnet18": (2048, ["layer4.1.bn1", "layer4.1.bn2"]),
        "vit_tiny_patch16_224": (768, ["blocks.11.norm2", "norm"]),
        "convnext_tiny": (3072, ["stages.3.blocks.2.norm", "head.norm"]),
    }
    for name, (dim, layers) in expected.items():
        model = timm.create_model(name)
        layout = Layout.of(model, LastNorms().select(model))
        assert layout.dim == dim
        assert layout.keys == [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


@pytest.mark.parametrize(
    ("layer", "positions", "dim", "first"),
    [
        ("conv", (0,), 9_408, "conv1.weight"),
        ("linear", (0,), 51_300, "fc.weight"),
        ("norm", (9, 10, 11, 12), 2_048, "layer3.0.bn1.weight"),
        ("norm", (13, 14), 2_048, "layer4.0.bn1.weight"),
        ("norm", (-2, -1), 2_048, "layer4.1.bn1.weight"),
    ],
)
def test_layers_give_the_rows_of_table_3f(resnet18: nn.Module, layer, positions, dim: int, first: str) -> None:
    keys = Layers(layer=layer, positions=positions, skip=("*downsample*",)).select(resnet18)
    layout = Layout.of(resnet18, keys)
    assert layout.dim == dim and layout.keys[0] == first


def test_running_statistics_can_be_selected() -> None:
    model = ResNet20().build(input_shape=(3, 32, 32), outputs=10)
    keys = LastNorms(n=1, buffers=True).select(model)
    entries = Layout.of(model, keys).entries
    assert [entry.key.rsplit(".")[-1] for entry in entries] == ["weight", "bias", "running_mean", "running_var"]
    assert [entry.positive for entry in entries] == [False, False, False, True]
    assert all("running" not in key for key in Entire(buffers=False).select(model))
    assert set(Entire().select(model)) == set(model.state_dict())


def test_names_match_globs_in_state_dict_order(resnet18: nn.Module) -> None:
    keys = Names(include=("layer4.1.*.bias", "fc.bias"), exclude=("*bn1*",)).select(resnet18)
    assert keys == ["layer4.1.bn2.bias", "fc.bias"]


def test_what_matches_nothing_is_one_line() -> None:
    mlp = MlpMini().build(input_shape=(1, 16, 16), outputs=10)
    cnn = CnnMedium().build(input_shape=(1, 28, 28), outputs=10)
    cases = [
        (Names(include=("*", "layer9.*")), mlp, "selector.include: 'layer9.*' matches none"),
        (Names(include=("*",), exclude=("*",)), mlp, "leaves nothing"),
        (LastNorms(), cnn, "selector.n = 2: the network has 0 normalisation layers"),
        (Layers(layer="conv", positions=(7,)), cnn, "selector.positions = 7: the network has 3 conv layers"),
    ]
    for selector, model, words in cases:
        with pytest.raises(UserError) as caught:
            selector.select(model)
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_selected_entries_are_those_that_a_user_sees_in_the_state_dict() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.RMSNorm(3))
    assert LastNorms(n=2).select(model) == ["1.weight", "1.bias", "2.weight"]
    assert LastNorms(n=1).select(model) == ["2.weight"]
    assert torch.equal(Layout.of(model, ["2.weight"]).vector(model.state_dict()), torch.ones(3))

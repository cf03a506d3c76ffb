"""timm's networks: published sizes of last norms, inputs of any size, weights that cannot be fetched."""

from __future__ import annotations

import pytest
import torch

from pdiff_plugins.networks.timm import TimmModel
from tests.networks.helpers import refusal, size


def preset(name, **options):
    return TimmModel(**TimmModel.presets[name], **options)


@pytest.mark.parametrize(
    ("name", "modules", "published"),
    [
        ("resnet18", ["layer4.1.bn1", "layer4.1.bn2"], 2_048),
        ("vit_tiny", ["blocks.11.norm2", "norm"], 768),
        ("convnext_tiny", ["stages.3.blocks.2.norm", "head.norm"], 3_072),
    ],
)
def test_presets_hold_the_published_last_norms(name, modules, published):
    network = preset(name).build(input_shape=(3, 224, 224), outputs=10)
    assert sum(size(network.get_submodule(module)) for module in modules) == published


def test_presets_are_models_that_have_weights():
    import timm

    for values in TimmModel.presets.values():
        assert timm.get_pretrained_cfg(values["model"]).has_weights


@pytest.mark.parametrize(
    ("name", "input_shape"), [("vit_tiny", (1, 32, 48)), ("resnet18", (1, 8, 8)), ("convnext_tiny", (3, 32, 32))]
)
def test_timm_networks_fit_themselves_to_the_input(name, input_shape):
    network = preset(name).build(input_shape=input_shape, outputs=7)
    assert network.training
    assert network(torch.zeros(2, *input_shape)).shape == (2, 7)


@pytest.mark.parametrize(
    ("architecture", "input_shape", "words"),
    [
        (TimmModel(model="resnet81"), (3, 224, 224), ["no model 'resnet81'", "did you mean 'resnet"]),
        (TimmModel(model="resnet18.a1_in1l"), (3, 224, 224), ["'a1_in1l'", "did you mean 'a1_in1k'?", "tv_in1k"]),
        (TimmModel(model="botnet50ts_256", weights="pretrained"), (3, 256, 256), ["has no pretrained weights"]),
        (preset("convnext_tiny"), (3, 8, 8), ["convnext_tiny", "3x8x8", "image_size"]),
        (preset("vit_tiny"), (3, 60, 64), ["vit_tiny", "3x60x64", "16x16"]),
        (preset("vit_tiny"), (64,), ["vit_tiny", "images", "64"]),
    ],
)
def test_what_timm_cannot_build_is_refused(architecture, input_shape, words):
    message = refusal(architecture, input_shape)
    assert all(word in message for word in words), message


def test_weights_that_cannot_be_fetched_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    message = refusal(preset("resnet18", weights="pretrained"), (3, 224, 224))
    assert "model.safetensors of huggingface.co/timm/resnet18.a1_in1k" in message
    assert 'weights = "path/to/file.safetensors"' in message

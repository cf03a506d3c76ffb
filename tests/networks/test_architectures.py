"""The architectures: published sizes, forward shapes, published weights, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import conv2d, gelu, linear, max_pool2d

from pdiff.errors import UserError
from pdiff.files import load_state
from pdiff_plugins.networks import small as networks
from pdiff_plugins.networks.small import (
    CnnMedium,
    ConvNetMini,
    ConvNextMini,
    HyperCnn,
    Mlp,
    MlpMini,
    ResNet20,
    ResNetMini,
    TwoConvolutions,
    VitMini,
)
from pdiff_plugins.networks.timm import TimmModel
from tests.helpers import SHARED

RESNET20 = SHARED / "weights" / "cifar10_resnet20.safetensors"
ALL = [
    ConvNetMini, MlpMini, ResNetMini, VitMini, ConvNextMini, CnnMedium, ResNet20, HyperCnn, Mlp, TwoConvolutions
]  # fmt: skip


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def refusal(architecture, input_shape, outputs=10):
    """Return the one line with which a build is refused."""
    with pytest.raises(UserError) as caught:
        architecture.build(input_shape=input_shape, outputs=outputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_architecture_of_the_plugin_is_covered_here():
    registered = []
    networks.register_architectures(registered.append)
    assert registered == ALL


@pytest.mark.parametrize(
    ("component", "input_shape", "published"),
    [
        (ConvNetMini, (3, 64, 64), 24_262),
        (MlpMini, (3, 64, 64), 66_970),
        (ResNetMini, (3, 64, 64), 25_138),
        (VitMini, (3, 64, 64), 80_714),
        (ConvNextMini, (3, 64, 64), 74_970),
        (CnnMedium, (3, 32, 32), 10_853),
        (Mlp, (1, 28, 28), 7_960),
        (TwoConvolutions, (3, 32, 32), 5_370),
        (CnnMedium, (1, 32, 32), 10_853),
        (ResNet20, (3, 32, 32), 269_722),
        (HyperCnn, (1, 28, 28), 2_464),
        (HyperCnn, (3, 28, 28), 2_864),
    ],
)
def test_default_sizes_are_the_published_ones(component, input_shape, published):
    assert size(component().build(input_shape=input_shape, outputs=10)) == published


@pytest.mark.parametrize(
    ("architecture", "input_shape"),
    [
        (ConvNetMini(), (3, 64, 64)),
        (ConvNetMini(), (1, 16, 16)),
        (ConvNetMini(), (1, 15, 20)),
        (ConvNetMini(channels=(8, 4)), (1, 8, 8)),
        (MlpMini(), (1, 8, 8)),
        (MlpMini(pool=1, hidden=(20,)), (3, 7, 9)),
        (ResNetMini(), (1, 16, 16)),
        (ResNetMini(blocks=1), (1, 8, 8)),
        (VitMini(), (1, 8, 8)),
        (VitMini(patch=4, dim=16), (3, 32, 16)),
        (ConvNextMini(), (3, 37, 50)),
        (ConvNextMini(stem=1), (1, 8, 8)),
        (ConvNextMini(depths=(1, 1), dims=(8, 12)), (1, 8, 8)),
        (CnnMedium(), (1, 28, 28)),
        (CnnMedium(), (2, 22, 30)),
        (CnnMedium(channels=(8,)), (1, 8, 8)),
        (ResNet20(), (1, 8, 8)),
        (ResNet20(), (3, 64, 64)),
        (HyperCnn(), (1, 20, 33)),
        (HyperCnn(channels=(4, 3, 2), hidden=5, dropout=0.5, activation="gelu"), (3, 32, 32)),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "x".join(map(str, value)),
)
def test_networks_fit_themselves_to_the_input(architecture, input_shape):
    network = architecture.build(input_shape=input_shape, outputs=7)
    assert network(torch.randn(2, *input_shape)).shape == (2, 7)


@pytest.mark.parametrize("component", ALL, ids=lambda component: component.name)
def test_networks_are_traceable_and_batch_over_stacked_parameters(component):
    torch.manual_seed(0)
    nets = [component().build(input_shape=(3, 32, 32), outputs=5).eval() for _ in range(3)]
    inputs = torch.randn(2, 3, 32, 32)
    alone = torch.stack([net(inputs) for net in nets])
    torch.testing.assert_close(torch.fx.symbolic_trace(nets[0])(inputs), alone[0])
    stacked = torch.func.stack_module_state(nets)
    together = torch.func.vmap(lambda state: torch.func.functional_call(nets[0], state, inputs))(stacked)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_one_seed_gives_one_network():
    def build():
        torch.manual_seed(3)
        return VitMini().build(input_shape=(1, 16, 16), outputs=10).state_dict()

    first, second = build(), build()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_fixed_positions_are_no_part_of_the_vit_state():
    state = VitMini().build(input_shape=(3, 64, 64), outputs=10).state_dict()
    assert sum(value.numel() for value in state.values()) == 80_714


def test_a_grey_image_counts_as_its_rgb_copy():
    network = CnnMedium().build(input_shape=(1, 32, 32), outputs=10)
    same = CnnMedium().build(input_shape=(3, 32, 32), outputs=10)
    same.load_state_dict(network.state_dict())
    grey = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(network(grey), same(grey.expand(-1, 3, -1, -1)))


def test_the_perceptron_sees_only_pooled_channel_means():
    network = MlpMini().build(input_shape=(3, 8, 8), outputs=4)
    inputs = torch.randn(2, 3, 8, 8)
    permuted = inputs[:, [2, 0, 1]].flip(-1).unflatten(-1, (4, 2)).flip(-1, -2).flatten(-2)
    torch.testing.assert_close(network(inputs), network(permuted))


def test_the_zoos_cnn_is_its_published_layers():
    network = HyperCnn(activation="gelu").build(input_shape=(1, 28, 28), outputs=10)
    sizes = [sum(p.numel() for p in pair) for pair in zip(*[iter(network.parameters())] * 2, strict=True)]
    assert sizes == [208, 1_206, 100, 740, 210]
    (w1, b1), (w2, b2), (w3, b3), (w4, b4), (w5, b5) = zip(*[iter(network.parameters())] * 2, strict=True)
    inputs = torch.randn(2, 1, 28, 28)
    x = gelu(max_pool2d(conv2d(inputs, w1, b1), 2))
    x = gelu(max_pool2d(conv2d(x, w2, b2), 2))
    x = gelu(conv2d(x, w3, b3)).flatten(1)
    torch.testing.assert_close(network(inputs), linear(gelu(linear(x, w4, b4)), w5, b5))


@pytest.mark.parametrize(
    ("init", "mean", "deviation"),
    [
        ("uniform", 0.5, 12**-0.5),
        ("normal", 0.0, 1.0),
        ("kaiming_uniform", 0.0, (2 / 200) ** 0.5),
        ("kaiming_normal", 0.0, (2 / 200) ** 0.5),
    ],
)
def test_the_zoos_cnn_is_initialised_as_asked(init, mean, deviation):
    torch.manual_seed(0)
    state = HyperCnn(init=init, channels=(8, 60, 4)).build(input_shape=(1, 28, 28), outputs=10).state_dict()
    weights = state["1.0.weight"]  # 12,000 numbers, each output with a fan-in of 200
    assert weights.mean().item() == pytest.approx(mean, abs=4 * deviation / 12_000**0.5)
    assert weights.std().item() == pytest.approx(deviation, rel=0.03)
    if "uniform" in init:
        assert (weights - mean).abs().max() <= 3**0.5 * deviation
    assert all((value == 0.01).all() for key, value in state.items() if key.endswith("bias"))


def test_dropout_is_drawn_in_training_only_and_changes_no_key():
    torch.manual_seed(0)
    network = HyperCnn(dropout=0.5).build(input_shape=(1, 28, 28), outputs=10)
    plain = HyperCnn().build(input_shape=(1, 28, 28), outputs=10)
    plain.load_state_dict(network.state_dict(), strict=True)
    inputs = torch.randn(2, 1, 28, 28)
    assert not torch.equal(network(inputs), network(inputs))
    assert torch.equal(network.eval()(inputs), plain(inputs))


needs_resnet20 = pytest.mark.skipif(not RESNET20.is_file(), reason="PDIFF_SHARED_DATA holds no cifar10_resnet20")


@needs_resnet20
def test_resnet20_takes_the_published_weights():
    network = ResNet20().build(input_shape=(3, 32, 32), outputs=10)
    state = load_state(RESNET20)
    counters = {key for key in network.state_dict() if key.endswith("num_batches_tracked")}
    assert set(state) == set(network.state_dict()) - counters
    assert len(counters) == 19
    network.load_state_dict(state, strict=True)
    assert {key.rpartition(".")[2] for key, _ in network.named_parameters()} == {"weight", "bias"}
    assert not any("shortcut" in key or "downsample" in key for key in network.state_dict())


@needs_resnet20
def test_resnet20_reaches_the_published_accuracy():
    if not (SHARED / "cifar10" / "frame.xz").is_file():
        pytest.skip("PDIFF_SHARED_DATA holds no cifar10")
    network = ResNet20().build(input_shape=(3, 32, 32), outputs=10).eval()
    network.load_state_dict(load_state(RESNET20))
    images, labels = cifar10_test(count=1000)
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        accuracy = (network((images / 255 - mean) / std).argmax(1) == labels).double().mean().item()
    # Published: 91.73 % on all 10,000; 1,000 of them have a standard error of 0.9 points.
    assert accuracy == pytest.approx(0.9173, abs=0.027)


def cifar10_test(count):
    """Return the first test images, `[count, 3, 32, 32]`, and labels from the shared mosaics."""
    import json
    import lzma
    import struct

    import numpy as np
    from PIL import Image

    mosaic = np.asarray(Image.open(SHARED / "cifar10" / "test_00.webp").convert("RGB"))
    tiles = mosaic.reshape(50, 32, 50, 32, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, 32, 32)[:count]
    frame = lzma.decompress((SHARED / "cifar10" / "frame.xz").read_bytes())
    (header,) = struct.unpack_from("<I", frame)
    position = 4 + header
    for name, (head, tail) in json.loads(frame[4:position]).items():
        if name == "test_batch":
            break
        position += head + (tail or 0)
    middle = position + head
    official = frame[position:middle] + bytes(10_000 * 3072) + frame[middle : middle + tail]
    return torch.tensor(tiles, dtype=torch.float32), torch.tensor(longest_list_of_numbers(official)[:count])


def longest_list_of_numbers(pickled):
    """Read the labels out of the official file's instructions without running them."""
    import pickletools

    runs = [[]]
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name in ("BININT1", "BININT"):
            runs[-1].append(argument)
        elif operation.name not in ("MARK", "APPENDS", "BINPUT", "LONG_BINPUT", "EMPTY_LIST"):
            runs.append([])
    return max(runs, key=len)


@pytest.mark.parametrize(
    ("architecture", "input_shape", "words"),
    [
        (ConvNetMini(), (1, 8, 8), ["convnet_mini", "8x8", "15x15", "channels"]),
        (MlpMini(pool=4), (1, 3, 8), ["mlp_mini", "3x8", "4x4", "pool"]),
        (ResNetMini(), (1, 14, 14), ["resnet_mini", "14x14", "15x15", "blocks"]),
        (VitMini(), (3, 36, 32), ["vit_mini", "patch = 8", "36x32"]),
        (VitMini(), (3, 4, 4), ["vit_mini", "4x4", "8x8", "patch"]),
        (ConvNextMini(), (3, 31, 64), ["convnext_mini", "31x64", "32x32", "stem"]),
        (CnnMedium(), (1, 21, 28), ["cnn_medium", "21x28", "22x22", "channels"]),
        (ResNet20(), (2,), ["resnet20", "images", "2"]),
        (HyperCnn(), (1, 19, 28), ["hyper_cnn", "19x28", "20x20"]),
        (MlpMini(), (), ["mlp_mini", "scalar"]),
    ],
)
def test_sizes_that_cannot_work_are_refused(architecture, input_shape, words):
    message = refusal(architecture, input_shape)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("component", ALL, ids=lambda component: component.name)
def test_only_timm_has_pretrained_weights(component):
    assert "has no pretrained weights" in refusal(component(weights="pretrained"), (3, 64, 64))


@pytest.mark.parametrize(
    ("component", "options"),
    [
        (ConvNextMini, {"depths": [1, 2], "dims": [16]}),
        (ConvNetMini, {"channels": []}),
        (ConvNetMini, {"channels": [8, 0]}),
        (VitMini, {"dim": 30}),
        (HyperCnn, {"channels": [8, 6]}),
        (HyperCnn, {"dropout": 1.0}),
        (HyperCnn, {"init": "zeros"}),
        (TimmModel, {}),
    ],
)
def test_options_are_checked_before_anything_is_built(component, options):
    with pytest.raises(ValidationError):
        component(**options)


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

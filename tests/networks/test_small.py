"""The small networks: published sizes, forward shapes, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import conv2d, gelu, linear, max_pool2d

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
    StridedCnn,
    TwoConvolutions,
    VitMini,
)
from pdiff_plugins.networks.timm import TimmModel
from tests.networks.helpers import refusal, size

ALL = [
    ConvNetMini, MlpMini, ResNetMini, VitMini, ConvNextMini, CnnMedium, ResNet20, HyperCnn, Mlp, TwoConvolutions,
    StridedCnn,
]  # fmt: skip


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
        (StridedCnn, (3, 16, 16), 13_330 + 8 * 17),
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
    torch.testing.assert_close(network.eval()(inputs), plain(inputs))


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

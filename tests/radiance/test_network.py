"""The networks of scenes: published sizes, a second forward pass, what they refuse; the task's score."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import linear, relu, silu

from pdiff.components import Architecture, Selector
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff_plugins.maths.decibels import psnr
from pdiff_plugins.radiance.network import RadianceMlp
from pdiff_plugins.radiance.scenes.dataset import Scenes3d
from pdiff_plugins.radiance.task import Radiance


def network(**options):
    return Architecture.model_validate({"name": "radiance_mlp"} | options).build(input_shape=(7,), outputs=4)


def preset(name):
    return Architecture.model_validate({"name": name}).build(input_shape=(7,), outputs=4)


@pytest.mark.parametrize(("name", "weights"), [("radiance_mlp", 2_084), ("tiny_nerf", 481_796), ("shap_e", 369_164)])
def test_networks_have_the_published_sizes(name, weights):
    assert sum(weight.numel() for weight in preset(name).parameters()) == weights


def test_what_shap_e_generates_are_four_matrices():
    model = preset("shap_e")
    selector = Selector.model_validate({"name": "names", "include": ["hidden.[0-3].weight"]})
    keys = selector.select(model)
    assert list(keys) == [f"hidden.{number}.weight" for number in range(4)]
    assert sum(model.state_dict()[key].numel() for key in keys) == 220_416


def encoded(x, frequencies):
    """Return x, and of each frequency sines and cosines of all three."""
    waves = [wave(2.0**k * math.pi * x) for k in range(frequencies) for wave in (torch.sin, torch.cos)]
    return torch.cat([x, *waves], dim=1)


@pytest.mark.parametrize("name", ["radiance_mlp", "tiny_nerf", "shap_e"])
def test_forward_is_that_of_its_layers(name):
    torch.manual_seed(0)
    model, x = preset(name), torch.rand(5, 7) * 2 - 1
    layers = [(layer.weight, layer.bias) for layer in model.hidden]
    point = h = encoded(x[:, :3] / 2, {"radiance_mlp": 4, "tiny_nerf": 6, "shap_e": 15}[name])
    for number, (weight, bias) in enumerate(layers):
        if name == "tiny_nerf" and number == 5:
            h = torch.cat([h, point], dim=1)
        if name == "shap_e" and number == 4:
            h = torch.cat([h, encoded(x[:, 3:6], 8)], dim=1)
        h = (silu if name == "shap_e" else relu)(linear(h, weight, bias))
    torch.testing.assert_close(model(x), linear(h, model.out.weight, model.out.bias), rtol=1e-4, atol=1e-5)
    assert model(x).shape == (5, 12 if name == "shap_e" else 4)
    assert torch.equal(model(x[:, :6]), model(x)), "what more there is is left unread"


def test_colours_may_depend_on_the_direction():
    x = torch.rand(4, 7)
    other = torch.cat([x[:, :3], torch.rand(4, 4)], dim=1)
    plain, seen_from = network(), network(direction_at=1, again_at=1, frequencies=0, direction_frequencies=0)
    assert torch.equal(plain(x), plain(other)) and not torch.equal(seen_from(x), seen_from(other))
    assert seen_from.hidden[1].in_features == 32 + 3 + 3


@pytest.mark.parametrize(
    ("options", "shape", "words"),
    [
        ({}, (1, 8, 8), r"architecture radiance_mlp: sees points along rays, not inputs of shape \[1, 8, 8\]"),
        ({}, (3,), r"not inputs of shape \[3\]"),
        ({"again_at": 2}, (7,), r"architecture.again_at = 2: hidden layers are numbered 1 to 1"),
        ({"direction_at": 3}, (7,), r"architecture.direction_at = 3"),
        ({"numbers": 3}, (7,), r"architecture.numbers = 3: the task reads 4 outputs; raise it"),
    ],
)
def test_what_cannot_be_is_refused(options, shape, words):
    with pytest.raises(UserError, match=words):
        RadianceMlp(**options).build(input_shape=shape, outputs=4)


def test_the_task_takes_networks_of_colour_and_density():
    with pytest.raises(UserError, match=r"task radiance: a network gives \[5, 3\] for points; it takes \[points, 4\]"):
        Radiance().check_network(torch.nn.Linear(7, 3), torch.rand(5, 7), 4)
    Radiance().check_network(network(), torch.rand(5, 7), 4)


def test_scores_are_psnr_in_decibels():
    targets = torch.rand(50, 3)
    off = torch.stack([targets, targets + 0.1, targets + 0.01])
    assert psnr(off, targets).tolist() == pytest.approx([100, 20, 40], abs=1e-3)
    assert Radiance().score(off, targets).tolist() == pytest.approx([100, 20, 40], abs=1e-3)
    assert Radiance().wrong(torch.stack([targets, targets + 0.11, targets + 0.09]), targets).sum(dim=1).tolist() == [
        0, 50, 0,
    ]  # fmt: skip


def test_an_opaque_network_is_seen_in_its_colour():
    class Opaque(torch.nn.Module):
        def forward(self, x_P6):
            return torch.tensor([0.0, 20.0, -20.0, 50.0]).expand(len(x_P6), 4)

    data = Scenes3d(count=3, side=8, views=1, unseen=1).load(Context(seed=0))
    batch = data.train.batch(torch.arange(64), torch.device("cpu"))
    task, hit = Radiance(), (batch.inputs[:, :3] != batch.inputs[:, 3:6]).any(dim=1)
    found = task.predict(Opaque(), batch.inputs)
    torch.testing.assert_close(found[hit], torch.tensor([0.5, 1.0, 0.0]).expand(int(hit.sum()), 3))
    assert (~hit).any() and found[~hit].min() > 0.999
    one = {"shape": 1}
    loss = task.loss(Opaque(), batch._replace(targets=task.targets(batch.targets, one)))
    torch.testing.assert_close(loss, (task.seen(Opaque(), batch.inputs, 20) - data.train.targets[:, 1]).square().mean())

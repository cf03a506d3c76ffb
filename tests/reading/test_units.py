"""Units: entries by their groups of hidden units, and what a unit holds, against slices taken by hand."""

from __future__ import annotations

import torch

from pdiff_plugins.reading.units import Units, features, log_length, summaries
from tests.reading.helpers import networks


def test_entries_of_a_perceptron_by_groups():
    theta_ND, bench = networks("mlp", hidden=(6, 5))
    units, layout = Units(bench, "reader", balance=False), bench.objective.layout
    assert [(held.key, held.groups, held.channels) for held in units.held] == [
        ("1.weight", (0,), 64), ("1.bias", (0,), 1), ("3.weight", (1, 0), 1), ("3.bias", (1,), 1),
        ("5.weight", (1,), 3), ("5.bias", (), 3),
    ]  # fmt: skip
    state, tensors = layout.tensors(theta_ND), units.tensors(theta_ND)
    assert torch.equal(tensors[2][..., 0], state["3.weight"])
    assert torch.equal(tensors[4], state["5.weight"].mT)
    first, second, whole = features(units, tensors)
    assert torch.equal(first[:, :, :64], state["1.weight"])
    assert first.shape[1:] == (6, 64 + 1 + 2 + 7 + 1) and second.shape[1:] == (5, 7 + 1 + 2 + 3 + 1)
    assert torch.allclose(second[:, :, 0], state["3.weight"].mean(dim=2))
    assert torch.equal(whole[:, 0, -11:-8], state["5.bias"])


def test_pixels_that_a_convolution_leaves_are_channels():
    _, bench = networks("strided_cnn", channels=(3, 4), hidden=(5,))
    units = Units(bench, "reader", balance=False)
    shapes = {held.key: (held.groups, held.channels) for held in units.held}
    assert list(shapes.values())[0:6:2] == [((0,), 9), ((1, 0), 9), ((2, 1), 4)]


def test_summaries_are_torchs_quantiles():
    value = torch.randn(3, 2, 9, 4, generator=torch.Generator().manual_seed(0))
    quantiles = value.quantile(torch.linspace(0, 1, 5), dim=2).movedim(0, 2)
    expected = torch.cat([value.mean(dim=2), value.std(dim=2, correction=0), quantiles.flatten(2)], dim=2)
    assert torch.allclose(summaries(value), expected, atol=1e-6)
    assert torch.allclose(log_length(value)[..., 0].exp(), value.square().mean(dim=(2, 3)).sqrt())

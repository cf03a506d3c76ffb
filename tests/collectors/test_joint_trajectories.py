"""Networks with BatchNorm trained as one, in float64: after many steps what each alone becomes."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from pdiff.context import derive
from pdiff.zoo import Layout
from pdiff_plugins.collectors.seeds.network import Network
from pdiff_plugins.images.classification import Classification
from tests.collectors.helpers import CTX, builder, built, options, plainly, splits

SHAPE, STEPS, ATOL = (2, 9, 9), 20, 1e-11


def norms_everywhere(**norm) -> nn.Module:
    """On inputs, images, sequences and features; none shifts what the next takes away again (`helpers.batch_norm`)."""
    inputs = [nn.BatchNorm2d(2, **norm), nn.Tanh(), nn.Conv2d(2, 4, 3, bias=False)]
    images = [nn.BatchNorm2d(4, **norm), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(2)]
    sequences = [nn.BatchNorm1d(4, **norm), nn.Tanh(), nn.Flatten(), nn.Linear(36, 6, bias=False)]
    features = [nn.BatchNorm1d(6, **norm), nn.Tanh(), nn.Linear(6, 3)]
    return nn.Sequential(*inputs, *images, *sequences, *features).double()


@pytest.fixture
def last(monkeypatch) -> dict[str, torch.Tensor]:
    """Holds the parameters and buffers of all networks at the last saved step, each `[G, ...]`, float64 as trained."""
    held: dict[str, torch.Tensor] = {}
    vectors = Network.vectors

    def holding(network: Network, theta_GT, buffers):
        entries = network.parameters(theta_GT) | dict(zip(network.buffers, buffers, strict=True))
        held.update({name: entry.clone() for name, entry in entries.items()})
        return vectors(network, theta_GT, buffers)

    monkeypatch.setattr(Network, "vectors", holding)
    return held


@pytest.mark.parametrize("change", [{}, {"optimizer": "sgd", "schedule": "constant"}], ids=["adamw", "sgd"])
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize(
    "norm", [{"momentum": 0.1}, {"momentum": None}, {"track_running_stats": False}], ids=["moving", "mean", "untracked"]
)
def test_twenty_steps_are_those_of_each_alone(norm, affine, change, last) -> None:
    make, seeds = functools.partial(norms_everywhere, affine=affine, **norm), options(steps=STEPS, **change)
    data, template = splits(SHAPE, torch.float64), built(make, 0)
    keys = list(template.state_dict())
    seeds.collect(
        template, data=data, task=Classification(), layout=Layout.of(template, keys), bench=builder(make), ctx=CTX
    )  # fmt: skip
    for run in range(seeds.count):
        model = built(make, derive(CTX.seed, "run", run))
        plainly(seeds, model, run, data, keys)
        state = model.state_dict()
        assert last.keys() == state.keys()
        torch.testing.assert_close({name: values[run] for name, values in last.items()}, state, atol=ATOL, rtol=0)

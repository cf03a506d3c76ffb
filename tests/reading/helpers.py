"""Small zoos of random networks, and readers that are trained for a moment."""

from __future__ import annotations

import functools

import torch

from pdiff.components import KINDS
from pdiff.context import Context
from pdiff.data import DatasetSplits, TensorSplit
from pdiff.networks import build_network
from pdiff.testing import TinyTask, bench_of
from pdiff.zoo import Layout, Zoo

COUNT = 12
SHORT = {"members": 1, "steps": 3, "batch_size": 8, "width": 16}
SMALL = {
    "neuron_transformer": SHORT | {"depth": 1}, "probes": SHORT, "equivariant": SHORT | {"edge_width": 4, "rounds": 1},
}  # fmt: skip


def images(side=8, outputs=3):
    """Return splits of random grey images with a class each."""
    generator = torch.Generator().manual_seed(0)
    parts = [
        TensorSplit(torch.randn(20, 1, side, side, generator=generator), torch.arange(20) % outputs) for _ in range(3)
    ]
    return DatasetSplits(*parts, input_shape=(1, side, side), outputs=outputs)


@functools.cache
def networks(architecture, side=8, outputs=3, count=COUNT, **options):
    """Return the vectors of `count` new networks of an architecture, and their bench."""
    component, data = KINDS["architecture"].model_validate({"name": architecture} | options), images(side, outputs)
    models = [build_network(component, data, seed) for seed in range(count)]
    layout = Layout.of(models[0], list(models[0].state_dict()))
    theta_ND = torch.stack([layout.vector(model.state_dict()) for model in models])
    theta_ND += 0.1 * theta_ND.std() * torch.randn(theta_ND.shape, generator=torch.Generator().manual_seed(1))
    zoo = Zoo(theta_ND, layout, dict(models[0].state_dict()), [{"run": run, "step": 1} for run in range(count)])
    return theta_ND, bench_of(zoo, component, TinyTask(), data)


def reader(name, **options):
    return KINDS["reader"].model_validate({"name": name} | SMALL[name] | options)


def fitted(name, theta_ND, bench, **options):
    """Return a reader that learnt the networks' norms."""
    return reader(name, **options).fit(theta_ND, theta_ND.double().norm(dim=1), bench, Context(seed=0))

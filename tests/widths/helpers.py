"""Small networks of several widths, their units and zoos."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.components import Architecture
from pdiff.context import Context
from pdiff.data import DatasetSplits, TensorSplit
from pdiff.engine.bench import RunBench
from pdiff.networks import build_network
from pdiff.testing import bench_of
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.networks.small import Mlp, StridedCnn
from pdiff_plugins.widths.collector import Widths
from pdiff_plugins.widths.encoder import Width
from pdiff_plugins.widths.units import LivingUnits

MLP, CNN = Mlp(hidden=(8,)), StridedCnn(channels=(4, 8), hidden=(6,))
NARROW_MLP, NARROW_CNN = Mlp(hidden=(5,)), StridedCnn(channels=(3, 5), hidden=(4,))
"""The same at width 5: 5/8 of each layer, rounded."""
SHAPES = {MLP: (6,), CNN: (1, 6, 6)}
NARROW: dict[Architecture, Architecture] = {MLP: NARROW_MLP, CNN: NARROW_CNN}


def splits(shape: tuple[int, ...]) -> DatasetSplits:
    x = torch.randn(48, *shape, generator=torch.Generator().manual_seed(1))
    split = TensorSplit(x, x.flatten(1)[:, :3].argmax(dim=1))
    return DatasetSplits(split, split, split, shape, 3)


def network(architecture: Architecture, seed: int = 0) -> nn.Module:
    return build_network(architecture, splits(SHAPES.get(architecture) or _of_narrow(architecture)), seed)


def _of_narrow(architecture: Architecture) -> tuple[int, ...]:
    return next(SHAPES[wide] for wide, small in NARROW.items() if small == architecture)  # type: ignore[index]


def bench(architecture: Architecture, zoo: Zoo | None = None) -> RunBench:
    """Return the services for a network's zoo, by default of the network alone."""
    if zoo is None:
        return _alone(architecture)
    return bench_of(zoo, architecture, Classification(), splits(SHAPES[architecture]), encoder=Width())  # type: ignore[index]


@functools.cache
def _alone(architecture: Architecture) -> RunBench:
    model = build_network(architecture, splits(SHAPES[architecture]), 0)  # type: ignore[index]
    return bench(architecture, Zoo.of_one(dict(model.state_dict()), Layout.of(model, list(model.state_dict()))))


@functools.cache
def units_of(architecture: Architecture) -> LivingUnits:
    served = bench(architecture)
    return LivingUnits.of(served, served.objective.layout, "test")


def outputs(architecture: Architecture, theta_MD: Tensor, inputs: Tensor) -> Tensor:
    return bench(architecture).objective.outputs(theta_MD, inputs)


def options(**changes: Any) -> Widths:
    known = {"widths": (3, 8), "held_out": (5,), "count": 3, "held_out_count": 2, "steps": 12, "lr": 0.02,
             "weight_decay": 0.1, "batch_size": 16}  # fmt: skip
    return Widths.model_validate(known | changes)


def collect(architecture: Architecture, **changes: Any) -> Zoo:
    """Return a zoo that may be changed."""
    zoo = _collected(architecture, tuple(changes.items()))
    return replace(zoo, theta_ND=zoo.theta_ND.clone(), rows=list(zoo.rows))


@functools.cache
def _collected(architecture: Architecture, changes: tuple[tuple[str, Any], ...]) -> Zoo:
    model, served = network(architecture), bench(architecture)
    return options(**dict(changes)).collect(
        model, data=splits(SHAPES[architecture]), task=Classification(), layout=served.objective.layout,  # type: ignore[index]
        bench=served, ctx=Context(seed=7),
    )  # fmt: skip

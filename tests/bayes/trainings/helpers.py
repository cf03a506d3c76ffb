"""Benches of small networks, and trainings of them as the core trains a base network."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.components import Architecture, Train
from pdiff.context import Context, derive
from pdiff.data import DatasetSplits
from pdiff.engine.bench import RunBench
from pdiff.files import load_tensors
from pdiff.running.progress import Progress, Step
from pdiff.testing import bench_of
from pdiff.training.base_network import do_train
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.images.classification import Classification
from tests.collectors.helpers import NETS, splits

CTX = Context(seed=7, threads=1)
TRAIN = Train(epochs=3, lr=0.01, batch_size=16, weight_decay=0.1, keep="last")


class Small(Architecture):
    """A small network."""

    name = "small"
    net: str = "mlp"
    dropout: float = 0.0

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        layers = NETS[self.net][0]()
        return nn.Sequential(nn.Dropout(self.dropout), *layers) if self.dropout else layers


def bench_for(
    train: Train = TRAIN, net: str = "mlp", dropout: float = 0.0, keys: list[str] | None = None,
    data: DatasetSplits | None = None,
) -> RunBench:  # fmt: skip
    """Return the bench of a zoo of one network, whose whole state is selected unless keys are given."""
    data, architecture = data or splits(NETS[net][1]), Small(net=net, dropout=dropout)
    torch.manual_seed(0)
    model = architecture.build(input_shape=(), outputs=3)
    layout = Layout.of(model, keys or list(model.state_dict()))
    bench = bench_of(Zoo.of_one(model.state_dict(), layout), architecture, Classification(), data)
    return replace(bench, training=train)


def fitted(method: Any, bench: RunBench, ctx: Context = CTX) -> Any:
    return method.fit(bench.zoo, bench, ctx)


def plainly(bench: RunBench, run: int, train: Train, folder: Path, base: bool = False) -> Tensor:
    """Return theta_D of a network that the core trained as a base network, from the run's seed."""
    seed = derive(CTX.seed, "run", run)
    model = bench.build(seed)
    if base:
        model.load_state_dict(bench.zoo.anchor)
    do_train(model, train, bench.data, "validation", bench.task, folder, CTX.replace(seed=seed))
    return bench.zoo.layout.vector(load_tensors(folder / "network.safetensors"))


class Killed(Exception):
    pass


class Killer(Progress):
    """Raises when so many steps are done; `begun` holds how many were done before, of each bar."""

    def __init__(self, steps: float):
        self.steps, self.begun = steps, []

    def step(self, what, total, done=0):
        outer = self
        self.begun.append((total, done))

        class Counted(Step):
            def advance(self, count=1, **values):
                outer.steps -= count
                if outer.steps < 0:
                    raise Killed

        return contextlib.nullcontext(Counted())

"""What is promised by readers of weights."""

from __future__ import annotations

import torch

from pdiff.components import WeightReader
from pdiff.context import Context
from pdiff.testing.asserts import seeded
from pdiff.testing.bench import bench_of
from pdiff.testing.tiny import TinyNet, TinyTask, tiny_splits, tiny_zoo


def check_reader(component: WeightReader) -> None:
    """One number per network, decided by its weights alone and by what the reader was fitted on."""
    zoo, name = tiny_zoo(), component.name
    bench = bench_of(zoo, TinyNet(), TinyTask(), tiny_splits())
    value_N, before = bench.score(zoo.theta_ND), zoo.theta_ND.clone()
    readouts = [seeded(noise, component.fit, zoo.theta_ND, value_N, bench, Context(seed=3)) for noise in (1, 2)]
    value_M, again_M = (readout.read(zoo.theta_ND[:7], bench) for readout in readouts)
    told = value_M.shape == (7,) and value_M.dtype == torch.float64
    assert told, f"{name}: read() gives {value_M.dtype} {list(value_M.shape)} for 7 networks"
    assert value_M.isfinite().all(), f"{name}: gives NaN or Inf"
    assert torch.equal(value_M, again_M), f"{name}: the same context tells another number"
    alone_M = readouts[0].read(zoo.theta_ND[2:3], bench)
    assert torch.allclose(alone_M, value_M[2:3], atol=1e-5), f"{name}: what it tells hangs on the networks beside it"
    assert torch.equal(zoo.theta_ND, before), f"{name}: changes the networks that it reads"

"""Many short trainings: the collector `seeds` against a plain PyTorch loop, one network after the other.

    python benchmarks/seeds.py [--device cuda] [--networks 64] [--steps 300] [--only "resnet_mini 16"] [--batch 32 128]

The plain loop is timed on a few networks, each with one thread and with all, in turn with the other way, and the better
median is scaled. OMP_NUM_THREADS limits both ways: beside other programs, threads that wait for each other can take a
hundred times as long. `ratio` is of these times; `ratio of CPU` compares the core seconds of the loop with one thread
and of the collector, tracing and all, which other programs disturb less. `busy` is how many cores those took meanwhile:
above 0.1 the times say little. `MFLOP` is what a step of one network computes, and `least, s` the time of all of them
at the rate of all cores in a large matrix product. `differ` is the largest difference of a parameter after ten steps.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

import torch
from common import add_device, finish, header
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from pdiff.context import Context, derive
from pdiff.data import DatasetSplits, TensorSplit
from pdiff.plugins.discovery import registry
from pdiff.running.device import device_for
from pdiff.testing import Points
from pdiff.training.loop import epoch_order
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.collectors.seeds.collector import Seeds
from pdiff_plugins.images.classification import Classification

EXAMPLES, LR, SHORT, ROUNDS, FEW, FEW_STEPS = 2000, 1e-3, 10, 3, 2, 60
CORES = torch.get_num_threads()
Shape = tuple[int, ...]


def small_mlp() -> nn.Module:
    """64-10-10, as in recipes for digits of 8 x 8."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.ReLU(), nn.Linear(10, 10))


def small_cnn() -> nn.Module:
    """G.pt's network for CIFAR-10, 5,370 parameters."""
    first = [nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.ReLU()]
    second = [nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*first, *second, nn.Linear(32, 10))


def of_plugin(name: str, shape: Shape, **options: object) -> Callable[[], nn.Module]:
    found, values = registry().find("architecture", name)
    return lambda: found(**values | options).build(input_shape=shape, outputs=10)


DIGIT, IMAGE = (1, 16, 16), (3, 32, 32)
CASES: list[tuple[str, Shape, Callable[[], nn.Module]]] = [
    ("mlp 64-10-10", (1, 8, 8), small_mlp),
    ("mlp_mini", DIGIT, of_plugin("mlp_mini", DIGIT)),
    ("resnet_mini", DIGIT, of_plugin("resnet_mini", DIGIT)),
    ("convnet_mini 8-8", DIGIT, of_plugin("convnet_mini", DIGIT, channels=(8, 8))),
    ("vit_mini", DIGIT, of_plugin("vit_mini", DIGIT)),
    ("convnext_mini stem 2", DIGIT, of_plugin("convnext_mini", DIGIT, stem=2)),
    ("resnet_mini", IMAGE, of_plugin("resnet_mini", IMAGE)),
    ("convnet_mini", IMAGE, of_plugin("convnet_mini", IMAGE)),
    ("vit_mini", IMAGE, of_plugin("vit_mini", IMAGE)),
    ("convnext_mini", IMAGE, of_plugin("convnext_mini", IMAGE)),
    ("G.pt's CNN", IMAGE, small_cnn),
]


class Spent(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float

    @classmethod
    def now(cls, device: torch.device) -> Spent:
        finish(device)
        return cls(time.perf_counter(), time.process_time())

    def until(self, later: Spent) -> Spent:
        return Spent(later.wall - self.wall, later.cpu - self.cpu)


def built(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return make()


def alone(make: Callable[[], nn.Module], run: int, x: torch.Tensor, y: torch.Tensor, batch: int, steps: int) -> tuple:
    """Train one network; return it, and what its steps took."""
    seed = derive(0, "run", run)
    model = built(make, seed).to(x.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0, fused=True)
    start = Spent.now(x.device)
    for step in range(steps):
        index = epoch_order(len(x), batch, step, seed).to(x.device)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x[index]), y[index]).backward()
        optimizer.step()
    return model, start.until(Spent.now(x.device))


def together(
    make: Callable[[], nn.Module], count: int, data: DatasetSplits, batch: int, steps: int, device: torch.device
) -> tuple:
    """Train all networks; return theta and what it took."""
    model = built(make, 0).to(device)
    collector = Seeds(count=count, steps=steps, lr=LR, batch_size=batch, schedule="constant", group=max(count, 64))
    layout = Layout.of(model, list(model.state_dict()))
    bench = Points(Zoo.of_one(model.state_dict(), layout), build=lambda seed: built(make, seed))
    ctx = Context(seed=0, device=device, threads=CORES)
    start = Spent.now(device)
    zoo = collector.collect(model, data=data, task=Classification(), layout=layout, bench=bench, ctx=ctx)
    return zoo.theta_ND, start.until(Spent.now(device))


def case(name: str, shape: Shape, make: Callable[[], nn.Module], batch: int, options: argparse.Namespace) -> None:
    device, count, steps = device_for(options.device), options.networks, options.steps
    x, y = torch.randn(EXAMPLES, *shape), torch.randint(10, (EXAMPLES,))
    split = TensorSplit(x, y)
    data = DatasetSplits(split, split, split, shape, 10)
    x, y = x.to(device), y.to(device)
    difference = _difference(make, x, y, data, batch, device)
    loops: dict[int, list[Spent]] = {threads: [] for threads in {1, CORES}}
    joint, busy = [], Busy()
    for _ in range(ROUNDS):
        for threads, spent in loops.items():
            torch.set_num_threads(threads)
            spent += [alone(make, run, x, y, batch, FEW_STEPS)[1] for run in range(FEW)]
        joint.append(together(make, count, data, batch, steps, device)[1])
    foreign, scale = busy.cores(), steps * count / FEW_STEPS
    one = min(median(spent.wall for spent in each) for each in loops.values()) * scale
    all_, core = median(spent.wall for spent in joint), median(spent.cpu for spent in joint)
    flops = _flops(make, x[:batch], y[:batch])
    on_cpu = [f"{median(spent.cpu for spent in loops[1]) * scale / core:.1f}", f"{foreign:.1f}"]
    least = f"{flops * steps * count / (_peak() * CORES):.1f}"
    cells = [
        name, "x".join(map(str, shape)), f"{sum(p.numel() for p in make().parameters()):,}", batch, f"{one:.1f}",
        f"{all_:.1f}", f"{one / all_:.1f}", *(on_cpu if device.type == "cpu" else ["", ""]), f"{flops / 1e6:.2f}",
        least if device.type == "cpu" else "", f"{difference:.0e}",
    ]  # fmt: skip
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def _difference(make, x, y, data: DatasetSplits, batch: int, device: torch.device) -> float:
    theta_ND, _ = together(make, FEW, data, batch, SHORT, device)
    models = [alone(make, run, x, y, batch, SHORT)[0] for run in range(FEW)]
    rows = [torch.cat([value.detach().flatten().cpu() for value in model.state_dict().values()]) for model in models]
    return float((torch.stack(rows) - theta_ND).abs().max())


def _flops(make: Callable[[], nn.Module], x: torch.Tensor, y: torch.Tensor) -> int:
    model = make().to(x.device)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(x), y).backward()
    return counter.get_total_flops()


def _peak() -> float:
    """Return the operations a second of one core."""
    torch.set_num_threads(1)
    a, best = torch.randn(2048, 2048), float("inf")
    for _ in range(4):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


class Busy:
    """What other programs took of the cores since this was made; 0 where the system does not tell."""

    def __init__(self) -> None:
        self.began = self._now()

    def cores(self) -> float:
        wall, other = (now - before for now, before in zip(self._now(), self.began, strict=True))
        return max(other / wall, 0.0)

    def _now(self) -> tuple[float, float]:
        try:
            with open("/proc/stat") as file:
                ticks = [int(word) for word in file.readline().split()[1:9]]
        except OSError:
            return time.perf_counter(), 0.0
        used = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), used - time.process_time()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device(parser)
    parser.add_argument("--networks", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, nargs="+", default=[32])
    parser.add_argument("--only", default="", help="cases whose name and side contain this")
    options = parser.parse_args(arguments)
    titles = ["network", "input", "parameters", "batch", "one by one, s", "together, s", "ratio", "ratio of CPU"]
    header(device_for(options.device), *titles, "busy", "MFLOP", "least, s", "differ")
    for batch in options.batch:
        for name, shape, make in CASES:
            if options.only in f"{name} {shape[-1]}":
                case(name, shape, make, batch, options)


if __name__ == "__main__":
    main()

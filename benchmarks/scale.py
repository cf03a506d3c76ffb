"""Time and peak memory of the default `pdiff` by size: fit, then 8 samples into a file; the zoo lies on the disk.

    python benchmarks/scale.py resnet18 vit_base_patch16_224 convnext_large:4 [--folder BIG] [--count 50]
    python benchmarks/scale.py --growth docs/scale.png

Checkpoints are synthetic: a random base, then a walk along ten random directions and, a tenth as long, along one of
each checkpoint's own, in the tensors of a network of timm; they are written window by window, and are gone when they
are measured. Every row is a process of its own with one thread. MB is its VmHWM: torch, and what was read of the file
and not let go, are part of it. `--growth` varies one of D (parameters), N (checkpoints), M (samples) and E (examples
that 16 networks answer) at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from common import Idle, header

from pdiff.context import Context
from pdiff.data import DatasetSplits, TensorSplit
from pdiff.mapped import COLUMNS, windows
from pdiff.networks import build_network
from pdiff.running.snapshot import Snapshot
from pdiff.testing import bench_of
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.latent.pdiff import PDiff
from pdiff_plugins.networks.small import ConvNetMini

DIRECTIONS, LENGTH = 10, 0.01
"""Of the walk; length of a step beside a base of size 1."""
SWEEPS = {
    "D": [30_000, 300_000, 3_000_000, 30_000_000], "N": [10, 25, 50, 100, 200], "M": [8, 32, 128, 512],
    "E": [250, 1_000, 4_000, 16_000],
}  # fmt: skip
USUAL = {"D": 1_000_000, "N": 50, "M": 8, "E": 0}
WORDS = {"D": "parameters D", "N": "checkpoints N", "M": "samples M", "E": "test examples E"}
NETWORKS = 16
"""That answer E examples."""


def layout_of(network: str) -> Layout:
    """Return the layout of a whole network of timm, or, of a number, of so many parameters in tensors of 100,000."""
    if network.isdigit():
        dim, width = int(network), 100_000
        return Layout(tuple(Entry(f"{at}", (min(width, dim - at),), at) for at in range(0, dim, width)))
    import timm

    with torch.device("meta"):
        model = timm.create_model(network)
    return Layout.of(model, list(model.state_dict()))


def write(folder: Path, layout: Layout, count: int) -> None:
    """Write a stored zoo of which at most a window is held."""
    theta_ND = Snapshot(folder).rows(count, layout.dim)
    base_D = torch.randn(layout.dim, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    walk_NK = torch.randn(count, DIRECTIONS, generator=generator).cumsum(dim=0)
    for entry in layout.entries:
        if entry.positive:
            base_D[entry.columns] = 1.0
    for columns, theta_NW in windows(theta_ND, width=COLUMNS):
        way_KW = torch.randn(DIRECTIONS, theta_NW.shape[1], generator=generator)
        torch.randn(theta_NW.shape, generator=generator, out=theta_NW)
        theta_NW.mul_(0.1).addmm_(walk_NK, way_KW).mul_(LENGTH).add_(base_D[columns])
    for entry in layout.entries:
        if entry.positive:
            theta_ND[:, entry.columns].clamp_(min=0.1)
    rows = [{"run": 0, "step": step, "metrics": {}} for step in range(count)]
    Zoo(theta_ND, layout, layout.tensors(base_D), rows).save(folder)


def peak_mb() -> float:
    """Return VmHWM; `ru_maxrss` would begin with that of the parent."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return a result, and the CPU and wall seconds that it took."""
    cpu, wall = time.process_time(), time.monotonic()
    result = work()
    return result, time.process_time() - cpu, time.monotonic() - wall


def generated(folder: Path, samples: int) -> dict[str, float]:
    """Fit `pdiff` to the zoo of a folder and draw samples, in this process."""
    torch.optim.AdamW([torch.zeros(1)])  # imports much
    start = peak_mb()
    ctx = Context(seed=0, threads=1, snapshot=Snapshot(folder), warn=lambda line: None)
    zoo = Zoo.open(folder)
    bench = Idle(zoo)
    generator, fit_cpu, fit = timed(lambda: PDiff().fit(zoo, bench, ctx))
    theta_MD, sample_cpu, sample = timed(lambda: generator.sample(samples, bench, ctx))
    assert theta_MD.shape == (samples, zoo.layout.dim) and bool(theta_MD[-1, -1000:].isfinite().all())
    return {
        "fit_cpu": fit_cpu, "fit": fit, "sample_cpu": sample_cpu, "sample": sample, "start": start, "peak": peak_mb()
    }  # fmt: skip


def answered(examples: int) -> dict[str, float]:
    """Let networks of `convnet_mini` answer so many images of 32 x 32, in this process."""
    images = torch.randn(examples, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    split = TensorSplit(images, torch.zeros(examples, dtype=torch.int64))
    data = DatasetSplits(split, split, split, (3, 32, 32), 10)
    model = build_network(ConvNetMini(), data, 0)
    state = model.state_dict()
    zoo = Zoo.of_one(state, Layout.of(model, list(state)))
    theta_MD = zoo.theta_ND + 0.01 * torch.randn(NETWORKS, zoo.layout.dim)
    bench, start = bench_of(zoo, ConvNetMini(), Classification(), data), peak_mb()
    _, cpu, wall = timed(lambda: bench.predict(theta_MD, "test"))
    return {"answer_cpu": cpu, "answer": wall, "start": start, "peak": peak_mb()}


def measure(network: str, count: int, samples: int, examples: int, root: Path) -> dict[str, float]:
    """Return what a process of its own says of one size."""
    folder = Path(tempfile.mkdtemp(dir=root))
    try:
        if not examples:
            write(folder, layout_of(network), count)
        case = ["--case", str(folder), "--samples", str(samples), "--examples", str(examples)]
        command = [sys.executable, __file__, *case]
        alone = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=alone)
        if done.returncode:
            raise SystemExit(done.stderr)
        told: dict[str, float] = json.loads(done.stdout)
        return told
    finally:
        shutil.rmtree(folder)


def row(cells: Sequence[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def short(value: float) -> str:
    """Return a number as an axis has room for it."""
    return next(
        (f"{value / size:g} {word}" for size, word in ((10**6, "M"), (1000, "k")) if value >= size), f"{value:g}"
    )


def draw(points: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Draw CPU time above and memory below, over each axis."""
    from matplotlib.ticker import NullLocator

    from pdiff_plugins.drawing.style import GREY, HUES, VERMILLION, figure, png, styled

    lines = {"fit_cpu": ("fit", VERMILLION), "sample_cpu": ("sample", HUES[0]), "answer_cpu": ("answer", HUES[2])}
    with styled():
        made = figure(4.6)
        grid = made.subplots(2, len(points), sharey="row", sharex="col")
        for place, (axis, told) in enumerate(points.items()):
            above, below = grid[:, place]
            for key, (label, hue) in lines.items():
                if key in told[0]:
                    above.loglog(SWEEPS[axis], [one[key] for one in told], "o-", color=hue, label=label, ms=4)
            below.loglog(SWEEPS[axis], [one["peak"] for one in told], "o-", color=GREY, ms=4)
            below.set_xlabel(WORDS[axis])
            below.set_xticks(SWEEPS[axis], [short(value) for value in SWEEPS[axis]])
            below.xaxis.set_minor_locator(NullLocator())
            above.legend()
        for place, ticks in ((0, (0.1, 1, 10, 100)), (1, (500, 600, 700, 800, 900, 1000))):
            grid[place, 0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
            grid[place, 0].yaxis.set_minor_locator(NullLocator())
        grid[0, 0].set_ylabel("CPU seconds")
        grid[1, 0].set_ylabel("peak MB of the process")
        path.write_bytes(png(made))


def grow(path: Path, root: Path) -> None:
    """Measure every sweep, print it, and draw it."""
    header(torch.device("cpu"), "D", "N", "M", "E", "fit CPU-s", "sample CPU-s", "answer CPU-s", "MB at start", "MB")
    points: dict[str, list[dict[str, float]]] = {}
    for axis, values in SWEEPS.items():
        for value in values:
            at = USUAL | {axis: value}
            told = measure(str(at["D"]), at["N"], at["M"], at["E"], root)
            points.setdefault(axis, []).append(told)
            seconds = [f"{told[key]:.2f}" if key in told else "" for key in ("fit_cpu", "sample_cpu", "answer_cpu")]
            sizes = [f"{at[key]:,}" for key in at]
            row([*sizes, *seconds, f"{told['start']:.0f}", f"{told['peak']:.0f}"])
    draw(points, path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help="of timm, or a number of parameters; NAME:N for N checkpoints")
    parser.add_argument("--count", type=int, default=50, help="checkpoints")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="where there is room for the checkpoints")
    parser.add_argument("--growth", type=Path, metavar="PNG", help="measure and draw the growth curves")
    parser.add_argument("--case", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--examples", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case:
        torch.set_num_threads(1)
        told = answered(options.examples) if options.examples else generated(options.case, options.samples)
        return print(json.dumps(told))
    root = options.folder or Path(tempfile.gettempdir())
    if options.growth:
        return grow(options.growth, root)
    header(torch.device("cpu"), "network", "numbers", "N", "zoo, GB", "fit, CPU-s (s)", "sample, CPU-s (s)", "peak MB")
    for named in options.networks:
        network, _, given = named.partition(":")
        count, dim = int(given or options.count), layout_of(network).dim
        told = measure(network, count, options.samples, 0, root)
        seconds = [f"{told[what + '_cpu']:.1f} ({told[what]:.1f})" for what in ("fit", "sample")]
        size = f"{4e-9 * count * dim:.2f}"
        row([network, f"{dim:,}", f"{count}", size, *seconds, f"{told['peak']:.0f}"])


if __name__ == "__main__":
    main()

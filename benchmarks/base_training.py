"""Training on a CPU: resampled images and freed memory kept, channels-last order, against none of these.

    python benchmarks/base_training.py [--only resnet]

Each way has a process of its own. Times are CPU seconds of some epochs of `[train]`, on one thread; images of 32 pixels
are resampled to the side given.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from common import header

from pdiff.components import Train
from pdiff.context import Context
from pdiff.data import DatasetSplits
from pdiff.networks import build_network
from pdiff.plugins.discovery import registry
from pdiff.running.device import device_for
from pdiff.running.progress import Progress
from pdiff.training import base_network
from pdiff_plugins.images import splits
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.images.splits import ImageSplit, Transform

CASES = [
    ("mlp_mini", 64, "none", 128, 16384, 6), ("mlp_mini", 64, "none", 128, 45000, 6),
    ("mlp_mini", 64, "crop_flip", 128, 16384, 3), ("mlp_mini", 32, "none", 128, 16384, 6),
    ("convnet_mini", 64, "none", 128, 8192, 3), ("resnet_mini", 32, "none", 128, 8192, 3),
    ("resnet20", 32, "none", 128, 1024, 2), ("resnet18", 32, "none", 64, 1024, 2), ("resnet18", 64, "none", 64, 512, 2),
    ("resnet18", 224, "none", 16, 64, 2), ("timm_model efficientnet_lite0", 64, "none", 64, 512, 2),
    ("timm_model efficientnet_lite0", 224, "none", 32, 64, 2),
]  # fmt: skip
"""Architecture, side, training transform, batch size, images and epochs."""


def seconds(name: str, side: int, augment: str, batch_size: int, count: int, epochs: int, before: bool) -> float:
    """Return the CPU seconds of training; what is set up in the first steps is not counted."""
    torch.set_num_threads(1)
    device = torch.device("cpu") if before else device_for("cpu")
    if before:
        base_network.placed = lambda model, device: model.to(device)
        splits.KEPT_BYTES = 0
    kind, *model_name = name.split()
    found, values = registry().find("architecture", kind)
    architecture = found(**values | ({"model": model_name[0]} if model_name else {}))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    targets = torch.randint(10, (count,), generator=generator)
    train, few = (
        ImageSplit(images[:n], targets[:n], Transform(side, (0.5,) * 3, (0.25,) * 3, augment, resize=side))
        for n in (count, 2)
    )
    ctx = Context(seed=0, device=device, threads=1, progress=Progress())
    times = []
    for split, passes in ((few, 1), (train, epochs)):
        data = DatasetSplits(split, few, few, (3, side, side), 10)
        model, settings = build_network(architecture, data, 0), Train(epochs=passes, batch_size=batch_size)
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            base_network.do_train(model, settings, data, "validation", Classification(), Path(folder), ctx)
            times.append(time.process_time() - start)
    return times[-1]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of architectures that contain this")
    options = parser.parse_args(arguments)
    header(
        torch.device("cpu"),
        "architecture",
        "side",
        "transform",
        "batch",
        "images",
        "epochs",
        "before s",
        "now s",
        "ratio",
    )
    for case in CASES:
        if options.only in case[0]:
            times = []
            for before in (True, False):
                with multiprocessing.get_context("spawn").Pool(1) as alone:
                    times.append(alone.apply(seconds, (*case, before)))
            told = " | ".join([case[0].split()[-1], *map(str, case[1:])])
            print(f"| {told} | {times[0]:.2f} | {times[1]:.2f} | {times[0] / times[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()

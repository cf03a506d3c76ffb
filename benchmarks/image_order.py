"""Populations of convolutional networks on a CPU: images in the order that a trial finds quicker, against as they come.

    python benchmarks/image_order.py [--only resnet20]

CPU seconds of one prediction with its trials, on one thread; `differ` counts predictions that are not the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch
from common import header

from pdiff.context import Context
from pdiff.engine.bench import predictor_of
from pdiff.plugins.discovery import registry
from pdiff.running.device import device_for, placed
from pdiff.zoo import Layout
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.images.splits import ImageSplit, Transform
from pdiff_plugins.populations.chooser import Chooser
from pdiff_plugins.selectors import Entire, LastNorms

CASES = [
    ("timm_model efficientnet_lite0", 224, Entire(), 20, 64), ("resnet20", 32, Entire(), 40, 512),
    ("timm_model efficientnet_lite0", 224, LastNorms(n=2), 60, 64), ("resnet18", 64, LastNorms(n=2), 100, 512),
    ("convnet_mini", 64, Entire(), 100, 512),
]  # fmt: skip
"""Architecture, side, selection, networks and images."""


class AsTheyCome(Chooser):
    """Tries no other order."""

    def _in_order(self, way, seconds, pair_2D, inputs, batch, calls):
        return way, seconds, batch


def predicted(name, side, selector, networks, examples, before: bool) -> tuple[torch.Tensor, float]:
    """Return the predictions, and the CPU seconds that they took."""
    device = device_for("cpu")
    kind, *model_name = name.split()
    found, values = registry().find("architecture", kind)
    options = values | ({"model": model_name[0]} if model_name else {})
    torch.manual_seed(0)
    model = found(**options).build(input_shape=(3, side, side), outputs=10).eval()
    model = model if before else placed(model, device)
    layout = Layout.of(model, selector.select(model))
    base_D = layout.vector(model.state_dict())
    theta_MD = base_D * (1 + 0.01 * torch.randn(networks, layout.dim))
    images = torch.randint(256, (examples, 3, side, side), dtype=torch.uint8)
    split = ImageSplit(images, torch.zeros(examples, dtype=torch.long), Transform(side, (0.5,), (0.25,), resize=side))
    ctx = Context(seed=0, device=device, threads=1)
    predictor = predictor_of(model, layout, Classification(), ctx)
    if before:
        predictor.chooser = AsTheyCome(model, layout, Classification())
    start = time.process_time()
    predictions = predictor.predict(theta_MD, split, ctx, "population")
    return predictions, time.process_time() - start


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of architectures that contain this")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    titles = ("architecture", "side", "selection", "networks", "images", "as they come s", "now s", "ratio", "differ")
    header(torch.device("cpu"), *titles)
    for name, side, selector, networks, examples in CASES:
        if options.only in name:
            case = (name, side, selector, networks, examples)
            (expected, slow), (ours, quick) = (predicted(*case, before) for before in (True, False))
            told = f"| {name.split()[-1]} | {side} | {type(selector).name} | {networks} | {examples} |"
            differ = int((ours != expected).sum())
            print(f"{told} {slow:.1f} | {quick:.1f} | {slow / quick:.1f} | {differ} of {ours.numel()} |", flush=True)


if __name__ == "__main__":
    main()

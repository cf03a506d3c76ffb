"""Population evaluation: pdiff's way against the plain loop (load a network, run it over all images, and so on).

    python benchmarks/population.py [--device cuda] [--only resnet18] [--side 64] [--networks 100] [--examples 256]

The plain loop is timed on a few networks and scaled. `differ` counts predictions that are not the plain loop's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch
from common import add_device, finish, header

from pdiff.context import Context
from pdiff.data import evaluation_batches
from pdiff.engine.bench import predictor_of
from pdiff.plugins.discovery import registry
from pdiff.running.device import device_for, placed
from pdiff.training.loop import threads_for
from pdiff.zoo import Layout
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.images.splits import ImageSplit, Transform
from pdiff_plugins.selectors import Entire, LastNorms

CASES = [
    ("resnet18", 64, LastNorms(n=2)), ("resnet18", 224, LastNorms(n=2)), ("vit_tiny", 64, LastNorms(n=2)),
    ("vit_tiny", 224, LastNorms(n=2)), ("convnext_tiny", 224, LastNorms(n=2)), ("convnet_mini", 64, Entire()),
    ("vit_mini", 64, Entire()),
]  # fmt: skip


def plain(model, layout, theta_MD, split, ctx) -> torch.Tensor:
    """One network after the other, each over the whole split."""
    rows = []
    with torch.no_grad(), threads_for(model, ctx.threads):
        for theta_D in theta_MD:
            model.load_state_dict(layout.tensors(theta_D), strict=False)
            batches = evaluation_batches(split, ctx.batch_size, ctx.device)
            rows.append(torch.cat([model(batch.inputs).argmax(dim=1) for batch in batches]))
    return torch.stack(rows).cpu()


def case(name: str, side: int, selector, networks: int, examples: int, few: int, device: torch.device) -> None:
    found, values = registry().find("architecture", name)
    torch.manual_seed(0)
    model = placed(found(**values).build(input_shape=(3, side, side), outputs=100), device).eval()
    layout = Layout.of(model, selector.select(model))
    base = layout.vector(model.state_dict())
    theta_MD = base + 0.1 * base.std() * torch.randn(networks, layout.dim)
    images = torch.randint(256, (examples, 3, 32, 32), dtype=torch.uint8)
    split = ImageSplit(images, torch.zeros(examples, dtype=torch.long), Transform(side, (0.5,) * 3, (0.25,) * 3))
    ctx = Context(seed=0, device=device)
    plain(model, layout, theta_MD[:1], split, ctx)
    start = time.perf_counter()
    expected = plain(model, layout, theta_MD[:few], split, ctx)
    slow = (time.perf_counter() - start) * networks / few
    predictor = predictor_of(model, layout, Classification(), ctx)
    start = time.perf_counter()
    found_ME = predictor.predict(theta_MD, split, ctx, "population")
    finish(device)
    quick = time.perf_counter() - start
    ways = [str(way) for _, way in predictor.chooser.known.values()] or ["whole, one at a time"]
    differ = int((found_ME[:few].long() != expected).sum())
    kind = type(selector).name
    print(
        f"| {name} | {side} | {kind} | {networks} | {examples} | {slow:.1f} | {quick:.1f} | {slow / quick:.1f} | "
        f"{differ} of {expected.numel()} | {ways[0]} |",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device(parser)
    parser.add_argument("--only", default="", help="names of architectures that contain this")
    parser.add_argument("--side", type=int, default=0, help="of the images; 0: both")
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--few", type=int, default=3, help="networks that the plain loop is timed on")
    options = parser.parse_args(arguments)
    device = device_for(options.device)
    header(
        device,
        "architecture",
        "side",
        "selection",
        "networks",
        "images",
        "plain s",
        "pdiff s",
        "ratio",
        "differ",
        "way",
    )
    for name, side, selector in CASES:
        if options.only in name and options.side in (0, side):
            case(name, side, selector, options.networks, options.examples, options.few, device)


if __name__ == "__main__":
    main()

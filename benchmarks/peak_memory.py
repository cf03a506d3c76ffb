"""Peak host memory of a whole `resnet18_cifar100` run, from collected checkpoints to the report.

    python benchmarks/peak_memory.py [--device cuda] [--steps 20]

Every stage of the recipe runs with its sizes (300 x 2,048 numbers, images at 224 pixels, 200 samples, all baselines and
evaluators); codec, diffusion and sampling take few steps, and images are noise, 50,000 for training and 64 for the
test, because none of that changes the peak. The checkpoints are a random walk.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

import torch
from common import add_device, header

from pdiff.components import Collector, Dataset, merge
from pdiff.data import DatasetSplits
from pdiff.engine.pipeline import Pipeline
from pdiff.engine.plan import Plan
from pdiff.engine.scores import scores_of
from pdiff.recipe.tables import Recipe
from pdiff.running.device import device_for
from pdiff.zoo import Zoo
from pdiff_plugins.images.splits import ImageSplit, Transform

RECIPE = Path(__file__).parent.parent / "recipes" / "resnet18_cifar100.toml"
BAR_MB = 2000


class Noise(Dataset):
    """As many images as CIFAR-100 trains on."""

    name = "noise_images"

    def load(self, ctx):
        transform, parts = Transform(224, (0.5,) * 3, (0.25,) * 3), []
        for count in (50_000, 0, 64):
            images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
            parts.append(ImageSplit(images, torch.zeros(count, dtype=torch.long), transform))
        return DatasetSplits(*parts, input_shape=(3, 224, 224), outputs=100)


class Walk(Collector):
    """300 checkpoints on a random walk from the base network."""

    name = "walk"

    def collect(self, model, *, data, task, layout, bench, ctx):
        anchor = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
        steps_ND = 0.01 * torch.randn(300, layout.dim, generator=ctx.generator("walk"))
        rows = [{"run": 0, "step": step, "metrics": {}} for step in range(300)]
        return Zoo(layout.vector(anchor) + steps_ND.cumsum(dim=0), layout, anchor, rows)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device(parser)
    parser.add_argument("--steps", type=int, default=20, help="of codec, diffusion and sampling each")
    options = parser.parse_args(arguments)
    device = device_for(options.device)
    header(device, "stage", "peak MB so far")
    print(f"| imports | {peak_mb():.0f} |", flush=True)
    few = {"steps": options.steps, "sampling_steps": options.steps, "codec": {"steps": options.steps}}
    with tempfile.TemporaryDirectory() as folder:
        run = {"out": folder, "device": options.device}
        table = merge(tomllib.loads(RECIPE.read_text()), {"method": few, "run": run})
        table |= {"dataset": Noise(), "collect": Walk(), "train": {}}
        table["architecture"]["weights"] = ""
        pipeline = Pipeline(Plan(Recipe.model_validate(table)), "peak")
        data_mb = pipeline.data.train.images.nbytes / 2**20
        for what, work in (
            ("data set", lambda: None), ("collect", lambda: pipeline.zoo),
            ("fit", lambda: pipeline.generator(pipeline.plan.method)),
            ("sample", lambda: pipeline.sample(pipeline.plan.method)), ("evaluate", lambda: scores_of(pipeline)),
        ):  # fmt: skip
            work()
            print(f"| {what} | {peak_mb():.0f} |", flush=True)
    print(f"\n{peak_mb() - data_mb:.0f} MB without the data set ({data_mb:.0f} MB); the bar is {BAR_MB} MB")


if __name__ == "__main__":
    main()

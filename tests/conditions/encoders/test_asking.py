"""A run is asked for a task, by a person's own images."""

from __future__ import annotations

import shutil

import torch
from PIL import Image

from pdiff.components import Collector, Dataset
from pdiff.data import DatasetSplits
from pdiff.runs import Run
from pdiff.testing import tiny_run
from pdiff.zoo import Zoo
from pdiff_plugins.conditions.encoders.support import drawn
from pdiff_plugins.images.splits import ImageSplit, Preprocess, Transform
from tests.conditions.encoders.helpers import refused

SIDE = 6
TRANSFORM = Transform(SIDE, (0.4,), (0.3,), channels=1)
ORDERS = [{"classes": classes, "draw": draw} for draw in (0, 1) for classes in ([0, 1, 2], [1, 2, 0], [2, 0, 1])]


class Grey(Dataset):
    """Noise, whose pixels are bytes, in three classes."""

    name = "grey"

    def preprocess(self):
        return Preprocess(TRANSFORM)

    def load(self, ctx):
        pixels = torch.randint(256, (60, 1, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        split = ImageSplit(pixels, torch.arange(60) % 3, TRANSFORM)
        return DatasetSplits(split, split, split, (1, SIDE, SIDE), 3, names=("cat", "dog", "frog"))


class Orders(Collector):
    """A network for each order of the classes and each draw of examples."""

    name = "orders"

    def collect(self, model, *, data, task, layout, bench, ctx):
        theta_D = layout.vector(model.state_dict())
        theta_ND = theta_D + torch.arange(float(len(ORDERS)))[:, None]
        rows = [{"run": 0, "step": number, "metrics": {}, "about": about} for number, about in enumerate(ORDERS)]
        return Zoo(theta_ND, layout, model.state_dict(), rows)


def test_images_in_folders_are_asked_as_the_examples_that_they_are(tmp_path):
    pipeline = tiny_run(
        tmp_path, dataset=Grey(), collect=Orders(), encoder={"name": "features"}, method={"name": "nearest"}
    )
    run, split = Run(tmp_path, pipeline), pipeline.data.train
    for wanted in (1, 5):  # a folder whose images change is another question
        folder, about = tmp_path / "images", ORDERS[wanted]
        shutil.rmtree(folder, ignore_errors=True)
        for place, of_class in enumerate(drawn(split.targets, about["classes"], 5, about["draw"])):
            (folder / f"{place}-th").mkdir(parents=True)
            for number in of_class.tolist():
                Image.fromarray(split.images[number, 0].numpy()).save(folder / f"{place}-th" / f"{number}.png")
        assert run.drawing(examples=str(folder)).draw(1)[0].equal(pipeline.zoo.theta_ND[wanted])
    assert run.drawing(task="dog,frog,cat").draw(1)[0].equal(pipeline.zoo.theta_ND[1])
    refused(lambda: run.drawing(task="cat,dog").draw(1), "task = 'cat,dog'", "2 classes", "give 3")
    refused(lambda: run.drawing(condition="101").draw(1), "condition", "examples=... or task=...")
    refused(lambda: run.drawing(examples=str(tmp_path / "nowhere")).draw(1), "nowhere", "no such folder")

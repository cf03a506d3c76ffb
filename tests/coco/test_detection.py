"""Detection from recipe to scores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import pdiff
from pdiff_plugins.coco.detection import Detection
from tests.coco.helpers import load_boxes

CPU = torch.device("cpu")
TASK = Detection()

RECIPE = """
seed = 1
dataset = { name = "coco_detection", validation = 0.25, classes = ["person", "bicycle"] }
task = { name = "detection" }
architecture = { name = "fasterrcnn_tiny", widths = [8, 16], hidden = 32, image_size = 64 }
selector = { name = "last_norms" }
train = { epochs = 4, lr = 5e-3, batch_size = 6 }
collect = { name = "trajectory", count = 6, lr = 1e-3, batch_size = 6 }
method = { name = "pdiff", steps = 20, timesteps = 10, batch_size = 6 }
baseline = [{ name = "base" }, { name = "soup" }, { name = "constant" }]
sample = { count = 4, baseline_count = 3 }
evaluate = [{ name = "accuracy" }, { name = "similarity" }, { name = "distance" }]
report = [{ name = "markdown" }]
"""


def test_a_whole_run(root: Path, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(RECIPE)
    places = {"run.out": str(tmp_path / "runs"), "run.data": str(root.parent)}
    run = pdiff.run(tmp_path / "small.toml", set=places, quiet=True)
    scores = run.scores["networks"]
    assert run.scores["main"] == "AP"
    for source, own in scores.items():
        assert 0 <= own["accuracy"]["mean"] <= 1, source
    assert run.pipeline.zoo.layout.keys == ["backbone.0.1.weight", "backbone.0.1.bias", "backbone.1.1.weight",
                                            "backbone.1.1.bias"]  # fmt: skip
    data, theta = load_boxes(root), run.theta()
    model = run.pipeline.base_network().eval()
    model.load_state_dict(run.pipeline.zoo.state_dict(theta[0]))
    with torch.no_grad():
        found = TASK.predict(model, data.test.batch(torch.arange(10), CPU).inputs)
    # Other batches may move a box by a last bit, and with it one match of a box at one of ten overlaps.
    score = float(TASK.score(found[None], data.test.targets))
    assert score == pytest.approx(scores["pdiff"]["accuracy"]["values"][0], abs=0.02)
